PRAGMA foreign_keys = OFF;
CREATE TABLE `_knex_temp_alter100` (`key` varchar(255), `value` varchar(255) NOT NULL, `hint` varchar(255), PRIMARY KEY (`key`));
INSERT INTO "_knex_temp_alter100" SELECT * FROM "settings";
DROP TABLE "settings";
ALTER TABLE "_knex_temp_alter100" RENAME TO "settings";
PRAGMA foreign_keys = ON;
