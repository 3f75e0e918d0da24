delete from `customers` where `nick` is null;
update `tags` set `name` = 'a' where `name` < 'b';
