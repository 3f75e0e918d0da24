-- RedefineTables
PRAGMA defer_foreign_keys=ON;
PRAGMA foreign_keys=OFF;
CREATE TABLE "new_settings" (
    "key" TEXT NOT NULL PRIMARY KEY,
    "value" TEXT,
    "hint" TEXT NOT NULL DEFAULT 'none'
);
INSERT INTO "new_settings" ("hint", "key", "value") SELECT coalesce("hint", 'none') AS "hint", "key", "value" FROM "settings";
DROP TABLE "settings";
ALTER TABLE "new_settings" RENAME TO "settings";
PRAGMA foreign_keys=ON;
PRAGMA defer_foreign_keys=OFF;
