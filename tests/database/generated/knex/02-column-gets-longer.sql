PRAGMA foreign_keys = OFF;
CREATE TABLE `_knex_temp_alter100` (`id` integer PRIMARY KEY AUTOINCREMENT NOT NULL, `name` varchar(500) NOT NULL, `color` varchar(255));
INSERT INTO "_knex_temp_alter100" SELECT * FROM "tags";
DROP TABLE "tags";
ALTER TABLE "_knex_temp_alter100" RENAME TO "tags";
PRAGMA foreign_keys = ON;
