alter table `tags` add column `category_id` integer;
PRAGMA foreign_keys = OFF;
CREATE TABLE `_knex_temp_alter100` (`id` integer PRIMARY KEY AUTOINCREMENT NOT NULL, `name` varchar(255) NOT NULL, `color` varchar(255), `category_id` integer, FOREIGN KEY (`category_id`) REFERENCES `categories` (`id`) ON DELETE SET NULL);
INSERT INTO "_knex_temp_alter100" SELECT * FROM "tags";
DROP TABLE "tags";
ALTER TABLE "_knex_temp_alter100" RENAME TO "tags";
PRAGMA foreign_keys = ON;
