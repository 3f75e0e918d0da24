alter table `orders` add column `currency` varchar(255) default 'EUR';
update `orders` set `currency` = 'EUR';
