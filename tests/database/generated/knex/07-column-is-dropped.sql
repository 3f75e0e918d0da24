PRAGMA foreign_keys = OFF;
CREATE TABLE `_knex_temp_alter100` (`id` integer PRIMARY KEY AUTOINCREMENT NOT NULL, `author_id` integer, FOREIGN KEY (`author_id`) REFERENCES `customers` (`id`) ON DELETE SET NULL);
INSERT INTO "_knex_temp_alter100" SELECT "id", "author_id" FROM "notes";
DROP TABLE "notes";
ALTER TABLE "_knex_temp_alter100" RENAME TO "notes";
PRAGMA foreign_keys = ON;
