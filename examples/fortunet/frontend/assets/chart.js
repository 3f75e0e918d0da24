const form = document.querySelector("#birth");
const chart = document.querySelector("#chart");
const api = document.querySelector("meta[name=api]").content;

form.addEventListener("submit", async (event) => {
  event.preventDefault();
  const answer = await fetch(`${api}/api/charts/calculate?${new URLSearchParams(new FormData(form))}`);
  const body = await answer.json();
  chart.textContent = answer.ok ? `${body.chart.element} ${body.chart.animal}` : body.error;
});
