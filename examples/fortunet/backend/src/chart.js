// Calculates the chart of a birth: a small, deterministic replacement of the real calculation.

const ANIMALS = ["Rat", "Ox", "Tiger", "Rabbit", "Dragon", "Snake", "Horse", "Goat", "Monkey", "Rooster", "Dog", "Pig"];
const ELEMENTS = ["Wood", "Fire", "Earth", "Metal", "Water"];
const YEARS = { first: 1900, last: 2100 };

export class InvalidBirth extends Error {}

export function calculate({ date, time }) {
  const year = yearOf(date);
  const hour = hourOf(time);
  return {
    birth: { date, time },
    chart: {
      animal: ANIMALS[(year - 4) % 12],
      element: ELEMENTS[Math.floor(((year - 4) % 10) / 2)],
      hour: ANIMALS[Math.floor((hour + 1) / 2) % 12],
    },
  };
}

function yearOf(date) {
  if (!/^\d{4}-\d{2}-\d{2}$/.test(date)) {
    throw new InvalidBirth("date must look like 1990-05-17");
  }
  const day = new Date(`${date}T00:00:00Z`);
  if (Number.isNaN(day.getTime()) || !day.toISOString().startsWith(date)) {
    throw new InvalidBirth(`there is no day ${date}`);
  }
  const year = day.getUTCFullYear();
  if (year < YEARS.first || year > YEARS.last) {
    throw new InvalidBirth(`date must be from ${YEARS.first} to ${YEARS.last}`);
  }
  return year;
}

function hourOf(time) {
  const [, hour] = /^([01]\d|2[0-3]):[0-5]\d$/.exec(time) ?? [];
  if (hour === undefined) {
    throw new InvalidBirth("time must look like 14:30");
  }
  return Number(hour);
}
