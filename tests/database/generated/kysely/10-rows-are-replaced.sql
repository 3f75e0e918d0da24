replace into "settings" ("key", "value") values ('currency', 'USD');
insert into "tags" ("id", "name") values (1, 'first') on conflict ("id") do update set "name" = 'first';
