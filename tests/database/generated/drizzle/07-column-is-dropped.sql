ALTER TABLE `customers` DROP COLUMN `nick`;
