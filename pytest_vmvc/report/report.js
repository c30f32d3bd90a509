"use strict";
(() => {
  const save = document.getElementById("save-data");
  // Of a run with very many samples the page does not have them.
  save.hidden = !document.getElementById("raw-data").textContent;
  save.addEventListener("click", async () => {
    // The block is the results file, compressed and in base64.
    const text = atob(document.getElementById("raw-data").textContent);
    const packed = new Blob([Uint8Array.from(text, (char) => char.charCodeAt(0))]);
    const lines = packed.stream().pipeThrough(new DecompressionStream("gzip"));
    const link = document.createElement("a");
    link.href = URL.createObjectURL(await new Response(lines).blob());
    link.download = "results.jsonl";
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 1000);
  });

  const select = (node) => {
    const range = document.createRange();
    range.selectNodeContents(node);
    getSelection().removeAllRanges();
    getSelection().addRange(range);
  };
  // `otherwise` is called where copying is not allowed; it returns what the button says then.
  const copies = (button, text, otherwise) => {
    const label = button.textContent;
    button.addEventListener("click", async () => {
      try {
        await navigator.clipboard.writeText(text());
        button.textContent = "Copied";
      } catch {
        button.textContent = otherwise();
      }
      setTimeout(() => { button.textContent = label; }, 2000);
    });
  };
  for (const button of document.querySelectorAll("button[data-copy]")) {
    const code = document.getElementById(button.dataset.copy);
    button.hidden = false;
    copies(button, () => code.textContent, () => { select(code); return "Selected"; });
  }

  const filters = document.getElementById("filters");
  if (filters) {
    const readings = [...document.querySelectorAll(".reading")].map((node) => {
      const card = node.closest(".card");
      const text = (card.querySelector("header").textContent + " " + node.textContent).toLowerCase();
      const { verdict, pair, providers } = node.dataset;
      const link = document.querySelector(`#verdicts a[href="#${node.id}"]`);
      return { node, card, link, text, verdict, pair, providers: providers.split(" "), section: card.dataset.section };
    });
    const names = ["words", "verdict", "section", "pair", "provider"];
    const show = () => {
      const asked = Object.fromEntries(names.map((name) => [name, filters.elements[name].value]));
      const words = asked.words.toLowerCase().split(/\s+/).filter(Boolean);
      const cards = new Set(), pairs = new Set();
      let shown = 0;
      for (const one of readings) {
        const fits = words.every((word) => one.text.includes(word))
          && ["verdict", "section", "pair"].every((name) => !asked[name] || asked[name] === one[name])
          && (!asked.provider || one.providers.includes(asked.provider));
        one.node.hidden = !fits;
        if (one.link) one.link.parentNode.classList.toggle("off", !fits);
        if (fits) { shown += 1; cards.add(one.card.id); pairs.add(one.node.closest(".pair")); }
      }
      for (const card of document.querySelectorAll(".card")) card.hidden = !cards.has(card.id);
      for (const pair of document.querySelectorAll(".pair")) pair.hidden = !pairs.has(pair);
      for (const rows of document.querySelectorAll("#verdicts tbody")) rows.hidden = !cards.has(rows.dataset.claim);
      document.getElementById("shown").textContent = `${shown} of ${readings.length} readings`;
      const kept = new URLSearchParams(names.filter((name) => asked[name]).map((name) => [name, asked[name]]));
      history.replaceState(null, "", kept.size ? `#?${kept}` : location.hash.startsWith("#?") ? "#" : location.hash);
    };
    filters.hidden = false;
    filters.addEventListener("input", show);
    filters.addEventListener("reset", () => setTimeout(show));
    filters.addEventListener("submit", (event) => event.preventDefault());
    // A link to a selection: #?verdict=refuted&pair=minimal
    const follow = () => {
      const asked = new URLSearchParams(location.hash.slice(2));
      for (const name of names) filters.elements[name].value = asked.get(name) ?? "";
      show();
    };
    if (location.hash.startsWith("#?")) follow();
    // A link to a reading that the selection leaves out shows everything again.
    addEventListener("hashchange", () => {
      if (location.hash.startsWith("#?")) { follow(); return; }
      const target = document.getElementById(location.hash.slice(1));
      if (!target || !target.closest("[hidden]")) return;
      filters.reset();
      const reach = () => { target.scrollIntoView(); target.focus({ preventScroll: true }); };
      // Once more when the cards around it have got their true heights.
      setTimeout(() => { reach(); requestAnimationFrame(() => setTimeout(reach)); });
    });
  }

  for (const node of document.querySelectorAll(".reading")) {
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = "Copy as Markdown";
    const markdown = () => {
      const words = (part, from = node) => from.querySelector(part)?.textContent.trim() ?? "";
      const card = node.closest(".card");
      // What all readings of the pair share stands once, below them.
      const scope = [words(":scope > .scope", node.closest(".pair")), words(".scope")].filter(Boolean).join("; ");
      return [
        `> ${words("blockquote", card)}`, "",
        `**${words(".chip")}** (\`${words(".eyebrow code", card)}\` ${words("h5")}, pair ${node.dataset.pair}): ${words(".finding")}`, "",
        ...(words(".reason") ? [words(".reason"), ""] : []),
        `Holds for: ${scope}`, "",
      ].join("\n");
    };
    copies(button, markdown, () => "Not allowed here");
    node.append(button);
  }

  // On paper nothing can be unfolded.
  let folded = [];
  addEventListener("beforeprint", () => {
    folded = [...document.querySelectorAll("details:not([open])")];
    for (const part of folded) part.open = true;
  });
  addEventListener("afterprint", () => {
    for (const part of folded) part.open = false;
  });
})();
