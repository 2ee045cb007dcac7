"""The page on which the shopper confirms a payment at the bank: two buttons.

It stands where Stripe would send a browser for 3-D Secure. The client secret and the way back come
in its own address; it talks to the sandbox it was served by and to nobody else.
"""

PAGE = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Confirm your payment</title>
<style>
  body { font: 16px/1.5 system-ui, sans-serif; max-width: 26rem; margin: 15vh auto; padding: 1rem }
  button { font: inherit; padding: .6rem 1rem; margin-right: .5rem; border-radius: .5rem;
           border: 1px solid #888; background: #fff; cursor: pointer }
  button[value=succeed] { background: #0a7d4f; border-color: #0a7d4f; color: #fff }
</style>
<h1>Confirm your payment</h1>
<p>This is the sandbox's bank. No money moves.</p>
<p><button value="succeed">Complete</button><button value="fail">Fail</button></p>
<p role="status"></p>
<script type="module">
  const query = new URLSearchParams(location.search);
  const status = document.querySelector("[role=status]");
  async function complete(outcome) {
    for (const button of document.querySelectorAll("button")) button.disabled = true;
    const body = new URLSearchParams({ client_secret: query.get("client_secret"), outcome });
    const action = location.pathname.replace(/second_step$/, "complete_action");
    const reply = await (await fetch(action, { method: "POST", body })).json();
    status.textContent = reply.error ? reply.error.message : `The payment is now ${reply.status}.`;
    const back = query.get("return_url");
    if (!back || !/^https?:/.test(back)) return;
    const url = new URL(back);
    url.searchParams.set("payment_intent", location.pathname.split("/").at(-2));
    url.searchParams.set("payment_intent_client_secret", query.get("client_secret"));
    location.assign(url);
  }
  document.addEventListener("click", (event) => {
    if (event.target.value) complete(event.target.value);
  });
</script>
"""
