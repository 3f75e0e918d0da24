insert into "settings" ("key", "value") values ('theme', 'dark') on conflict ("key") do nothing;
create table "audit" ("id" integer primary key, "what" text);
insert into "audit" ("what") select "body" from "notes";
