create table "tags_new" ("id" integer primary key, "name" text not null, "color" text not null);
insert into "tags_new" ("id", "name", "color") select "id", "name", "color" from "tags" where "color" is not null;
drop table "tags";
alter table "tags_new" rename to "tags";
