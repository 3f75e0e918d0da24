PRAGMA foreign_keys=OFF;--> statement-breakpoint
CREATE TABLE `__new_tags` (
	`id` integer PRIMARY KEY NOT NULL,
	`name` text DEFAULT 'none' NOT NULL,
	`color` text,
	`rank` integer DEFAULT 0 NOT NULL
);
--> statement-breakpoint
INSERT INTO `__new_tags`("id", "name", "color", "rank") SELECT "id", "name", "color", "rank" FROM `tags`;--> statement-breakpoint
DROP TABLE `tags`;--> statement-breakpoint
ALTER TABLE `__new_tags` RENAME TO `tags`;--> statement-breakpoint
PRAGMA foreign_keys=ON;
