create table `customers` (`id` integer not null primary key autoincrement, `email` varchar(255) not null, `nick` varchar(255));
create table `orders` (`id` integer not null primary key autoincrement, `customer_id` integer not null, `total` float not null, foreign key(`customer_id`) references `customers`(`id`) on delete CASCADE);
create table `order_items` (`id` integer not null primary key autoincrement, `order_id` integer not null, `sku` varchar(255) not null, `qty` integer not null default '1', foreign key(`order_id`) references `orders`(`id`) on delete CASCADE);
create table `categories` (`id` integer not null primary key autoincrement, `parent_id` integer, `name` varchar(255), foreign key(`parent_id`) references `categories`(`id`) on delete SET NULL);
create table `notes` (`id` integer not null primary key autoincrement, `author_id` integer, `body` text, foreign key(`author_id`) references `customers`(`id`) on delete SET NULL);
create table `settings` (`key` varchar(255), `value` varchar(255), `hint` varchar(255), primary key (`key`));
create table `tags` (`id` integer not null primary key autoincrement, `name` varchar(255) not null, `color` varchar(255));
