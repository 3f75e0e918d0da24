drop table if exists `order_items`;
