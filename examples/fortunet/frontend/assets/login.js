const form = document.querySelector("#login");
const greeting = document.querySelector("#greeting");

form.addEventListener("submit", async (event) => {
  event.preventDefault();
  const body = JSON.stringify(Object.fromEntries(new FormData(form)));
  const answer = await fetch("/api/session", { method: "POST", headers: { "content-type": "application/json" }, body });
  greeting.textContent = answer.ok ? `Welcome, ${(await answer.json()).name}` : "That is not right. Try again.";
});
