PRAGMA foreign_keys=OFF;--> statement-breakpoint
CREATE TABLE `__new_customers` (
	`id` integer PRIMARY KEY AUTOINCREMENT NOT NULL,
	`email` text DEFAULT '' NOT NULL,
	`nick` text
);
--> statement-breakpoint
INSERT INTO `__new_customers`("id", "email", "nick") SELECT "id", "email", "nick" FROM `customers`;--> statement-breakpoint
DROP TABLE `customers`;--> statement-breakpoint
ALTER TABLE `__new_customers` RENAME TO `customers`;--> statement-breakpoint
PRAGMA foreign_keys=ON;
