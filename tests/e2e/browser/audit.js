// What is wrong with the page that is shown, as a list of sentences. A cheap part of what axe does.
() => {
  const wrong = [];
  const shown = (element) => element.checkVisibility({ opacityProperty: true, visibilityProperty: true });
  const say = (element, text) => wrong.push(`${text}: ${element.outerHTML.slice(0, 120)}`);

  if (!document.documentElement.lang) wrong.push("the page names no language");
  if (!document.title.trim()) wrong.push("the page has no title");
  if (document.querySelectorAll("h1").length !== 1) wrong.push("the page has not exactly one h1");
  if (document.querySelectorAll("main").length !== 1) wrong.push("the page has not exactly one main");

  let before = 0;
  for (const heading of document.querySelectorAll("main h1, main h2, main h3, main h4")) {
    if (!shown(heading)) continue;
    const level = Number(heading.tagName[1]);
    if (before && level > before + 1) say(heading, "a heading skips a level");
    before = level;
  }

  const ids = new Set();
  for (const element of document.querySelectorAll("[id]")) {
    if (ids.has(element.id)) say(element, "an id is used twice");
    ids.add(element.id);
  }

  for (const image of document.querySelectorAll("img:not([alt])")) say(image, "an image has no alt text");
  for (const field of document.querySelectorAll("input:not([type=hidden]), select, textarea")) {
    const named = field.labels?.length || field.getAttribute("aria-label");
    if (shown(field) && !named) say(field, "a field has no label");
    for (const id of (field.getAttribute("aria-describedby") || "").split(" ").filter(Boolean)) {
      if (!document.getElementById(id)) say(field, `a field is described by ${id}, which is not there`);
    }
  }
  for (const control of document.querySelectorAll("a[href], button")) {
    if (!shown(control)) continue;
    const name = control.getAttribute("aria-label") || control.textContent.trim();
    if (!name) say(control, "a control has no name");
    const box = control.getBoundingClientRect();
    const isInline = getComputedStyle(control).display === "inline";
    if (!isInline && control.matches("button, .button, .nav a, .tabs a") && Math.min(box.width, box.height) < 43.5) {
      if (!control.matches(".button-small")) say(control, `a target is ${Math.round(box.width)}x${Math.round(box.height)}`);
    }
  }
  for (const element of document.querySelectorAll("[style], [onclick], style, script:not([src]):not([type='application/json'])")) {
    say(element, "inline style or script");
  }

  // Contrast of every text that is shown, against the nearest painted background (WCAG 2.2, 1.4.3).
  const parse = (colour) => {
    const parts = colour.match(/[\d.]+/g).map(Number);
    return { rgb: parts.slice(0, 3), alpha: parts.length > 3 ? parts[3] : 1 };
  };
  const luminance = (rgb) => {
    const [r, g, b] = rgb.map((part) => {
      const value = part / 255;
      return value <= 0.04045 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4;
    });
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const ground = (element) => {
    for (let at = element; at; at = at.parentElement) {
      const { rgb, alpha } = parse(getComputedStyle(at).backgroundColor);
      if (alpha === 1) return rgb;
    }
    return [255, 255, 255];
  };
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  const seen = new Set();
  while (walker.nextNode()) {
    const element = walker.currentNode.parentElement;
    if (!walker.currentNode.textContent.trim() || seen.has(element) || !shown(element)) continue;
    seen.add(element);
    if (element.closest("script, noscript, .visually-hidden, [disabled]")) continue;
    const style = getComputedStyle(element);
    const pair = [luminance(parse(style.color).rgb), luminance(ground(element))].sort((a, b) => b - a);
    const ratio = (pair[0] + 0.05) / (pair[1] + 0.05);
    const isLarge = parseFloat(style.fontSize) >= 24 || (parseFloat(style.fontSize) >= 18.66 && style.fontWeight >= 700);
    if (ratio < (isLarge ? 3 : 4.5)) say(element, `contrast is ${ratio.toFixed(2)}`);
  }

  const over = document.documentElement.scrollWidth - document.documentElement.clientWidth;
  if (over > 0) {
    wrong.push(`the page is ${over} px wider than the screen`);
    for (const element of document.querySelectorAll("main *")) {
      if (element.getBoundingClientRect().right > document.documentElement.clientWidth + 1) say(element, "this sticks out");
    }
  }
  return wrong.slice(0, 12);
}
