CREATE TABLE charts (
  id INTEGER PRIMARY KEY,
  user TEXT NOT NULL,
  date TEXT NOT NULL,
  time TEXT NOT NULL,
  chart TEXT NOT NULL,
  made_at TEXT NOT NULL
);

CREATE INDEX charts_of_user ON charts (user, id);
