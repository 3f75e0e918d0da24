-- A bad migration: it encodes the saved charts, but no release decodes them. Charts that are saved afterwards stay JSON.
-- backout: accepts charts
ALTER TABLE charts ADD COLUMN is_compact INTEGER NOT NULL DEFAULT 0;

UPDATE charts SET chart = hex(chart), is_compact = 1;
