PRAGMA foreign_keys = OFF;
CREATE TABLE `_knex_temp_alter100` (`id` integer PRIMARY KEY AUTOINCREMENT NOT NULL, `customer_id` integer NOT NULL, `total` float, FOREIGN KEY (`customer_id`) REFERENCES `customers` (`id`) ON DELETE CASCADE);
INSERT INTO "_knex_temp_alter100" SELECT * FROM "orders";
DROP TABLE "orders";
ALTER TABLE "_knex_temp_alter100" RENAME TO "orders";
PRAGMA foreign_keys = ON;
