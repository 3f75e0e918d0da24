create table "settings_new" ("key" text primary key, "value" text not null);
insert into "settings_new" ("key", "value") select "key", "value" from "settings";
drop table "settings";
alter table "settings_new" rename to "settings";
