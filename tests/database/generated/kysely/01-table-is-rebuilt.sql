create table "settings_new" ("key" text primary key, "value" text not null, "hint" text);
insert into "settings_new" ("key", "value", "hint") select "key", "value", "hint" from "settings";
drop table "settings";
alter table "settings_new" rename to "settings";
