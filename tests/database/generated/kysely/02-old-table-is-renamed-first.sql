alter table "tags" rename to "tags_old";
create table "tags" ("id" integer primary key, "name" text not null, "color" text default 'red');
insert into "tags" select * from "tags_old";
drop table "tags_old";
