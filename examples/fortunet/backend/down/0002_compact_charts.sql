-- Charts that were saved before are JSON again, and later ones stay as they are.
-- backout: accepts charts
UPDATE charts SET chart = CAST(unhex(chart) AS TEXT) WHERE is_compact = 1;

ALTER TABLE charts DROP COLUMN is_compact;
