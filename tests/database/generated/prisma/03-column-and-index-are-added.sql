-- AlterTable
ALTER TABLE "customers" ADD COLUMN "plan" TEXT;

-- CreateIndex
CREATE INDEX "customers_plan_idx" ON "customers"("plan");
