ALTER TABLE `customers` ADD `plan` text DEFAULT 'free';--> statement-breakpoint
CREATE INDEX `by_plan` ON `customers` (`plan`);
