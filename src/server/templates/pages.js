// What is live on the pages: lists and runs that change by themselves, a log of any length, times of whoever looks. All else works
// without it. It asks nobody but this server, and what comes from there as HTML was escaped there.

const html = document.documentElement;
html.classList.add("with-script");
for (const hidden of document.querySelectorAll(".script-only")) hidden.hidden = false;

// === Times ===

const pad = (number, length = 2) => String(number).padStart(length, "0");
const clock = (time) => `${pad(time.getHours())}:${pad(time.getMinutes())}:${pad(time.getSeconds())}`;
const day = (time) => `${time.getFullYear()}-${pad(time.getMonth() + 1)}-${pad(time.getDate())}`;

/** Times in the zone of whoever looks; UTC stays in the title. */
function localise(root) {
  for (const element of root.querySelectorAll("time[datetime]")) {
    if (element.dataset.utc) continue;
    const time = new Date(element.dateTime);
    if (Number.isNaN(time.getTime())) continue;
    element.dataset.utc = "1";
    const isOfLine = element.parentElement.classList.contains("at");
    if (isOfLine) {
      const about = element.textContent.startsWith("~") ? "~" : "";
      element.textContent = `${about}${clock(time)}.${pad(time.getMilliseconds(), 3)}`;
      element.parentElement.title = `${element.dateTime} UTC`;
    } else {
      element.title = element.textContent;
      element.textContent = `${day(time)} ${clock(time)}`;
    }
  }
}
localise(document);

// === Asking ===

/** Why addresses can't be had, and since when. */
const problems = new Map();

/** A page that stays as it is looks like a test that goes on: it says so where it can't be kept up to date. */
function tell(address, words) {
  const path = address.split("?")[0];
  if (!words) problems.delete(path);
  else if (problems.get(path)?.words !== words) problems.set(path, { words, since: new Date() });
  const [problem] = problems.values();
  const away = document.getElementById("away");
  const text = problem ? `⚠ What is shown may be old: ${problem.words} since ${clock(problem.since)}.` : "";
  if (away.textContent !== text) away.textContent = text;
  away.hidden = !problem;
}

/** The element that an address answers with; null: it is as it was, or can't be had. */
async function ask(address, tag) {
  const headers = tag ? { "If-None-Match": tag } : {};
  let answer;
  try {
    answer = await fetch(address, { headers, cache: "no-store", credentials: "same-origin" });
  } catch {
    tell(address, "k6sync has not answered");
    return null;
  }
  // Somewhere else there is only the page to sign in.
  if (answer.redirected || answer.status === 401 || answer.status === 403) {
    location.reload();
    return null;
  }
  if (answer.status >= 500) tell(address, "k6sync has not been able to read the record");
  else if (answer.status === 404) tell(address, "this has not been on record");
  else tell(address, null);
  if (!answer.ok) return null;
  const template = document.createElement("template");
  template.innerHTML = await answer.text();
  const element = template.content.firstElementChild;
  if (element) element.etag = answer.headers.get("ETag");
  return element;
}

function withPart(address) {
  const url = new URL(address, location.href);
  url.searchParams.set("part", "1");
  return url.pathname + url.search;
}

const pause = (ms) => new Promise((done) => setTimeout(done, ms));
/** Nothing is asked while nobody looks. */
async function untilSeen() {
  while (document.hidden) {
    await new Promise((done) => document.addEventListener("visibilitychange", done, { once: true }));
  }
}

// === What changes by itself ===

function wear(element) {
  const { title, icon } = element.dataset;
  if (title) document.title = `${title} – k6sync`;
  const link = document.querySelector("link[rel=icon]");
  if (icon && link.getAttribute("href") !== icon) link.href = icon;
}

/** What somebody has opened, chosen or stands on is so in the new element, too. */
function keep(old, fresh) {
  const name = (details) => details.dataset.src ?? `${details.closest("section")?.querySelector("h2")?.textContent}`;
  const all = (root) => [...root.querySelectorAll("details")];
  const known = new Map(all(old).map((details) => [name(details), details]));
  for (const details of all(fresh)) {
    const before = known.get(name(details));
    if (!before) continue;
    details.open = before.open;
    if (before.dataset.loaded) details.replaceWith(before);
  }
  for (const box of old.querySelectorAll("input:checked")) {
    const same = fresh.querySelector(`input[value="${CSS.escape(box.value)}"]`);
    if (same) same.checked = true;
  }
  for (const wide of old.querySelectorAll(".wide[aria-label]")) {
    const same = fresh.querySelector(`.wide[aria-label="${CSS.escape(wide.getAttribute("aria-label"))}"]`);
    if (same && wide.scrollLeft) queueMicrotask(() => { same.scrollLeft = wide.scrollLeft; });
  }
  const focused = old.contains(document.activeElement) ? document.activeElement : null;
  const twin = () => {
    if (focused.matches("a[href]")) return fresh.querySelector(`a[href="${CSS.escape(focused.getAttribute("href"))}"]`);
    if (focused.matches("input")) return fresh.querySelector(`input[value="${CSS.escape(focused.value)}"]`);
    if (focused.matches("[aria-label]")) return fresh.querySelector(`[aria-label="${CSS.escape(focused.getAttribute("aria-label"))}"]`);
    return null;
  };
  const target = focused && twin();
  if (target) queueMicrotask(() => target.focus({ preventScroll: true }));
}

/** Rows that have gone off the first page stay on the screen. */
function keepRows(old, fresh) {
  const more = document.getElementById("more");
  const ids = new Set([...fresh.rows].map((row) => row.dataset.run));
  const known = new Set([...old.rows].map((row) => row.dataset.run));
  const last = Math.min(...[...ids].map(Number));
  const gone = [...old.rows].filter((row) => !ids.has(row.dataset.run) && Number(row.dataset.run) < last);
  more.prepend(...gone);
  for (const row of fresh.rows) row.classList.toggle("new", known.size > 0 && !known.has(row.dataset.run));
  if (fresh.rows.length) {
    document.querySelector(".runs").hidden = false;
    for (const empty of document.querySelectorAll(".empty")) empty.hidden = true;
  }
}

async function watch(element) {
  let tag = null;
  for (;;) {
    await pause(Number(element.dataset.poll));
    await untilSeen();
    const fresh = await ask(element.dataset.part ?? withPart(location.href), tag);
    if (!fresh || fresh.id !== element.id) continue;
    tag = fresh.etag;
    localise(fresh);
    if (fresh.id === "rows") keepRows(element, fresh);
    keep(element, fresh);
    element.replaceWith(fresh);
    element = fresh;
    wear(fresh);
    folds(fresh);
    if (!fresh.dataset.poll) return;
  }
}
for (const element of document.querySelectorAll("[data-poll]")) watch(element);

/** What is folded is fetched when it is opened. */
function folds(root) {
  for (const fold of root.querySelectorAll("details.fold[data-src]")) {
    fold.addEventListener("toggle", async () => {
      if (!fold.open || fold.dataset.loaded) return;
      fold.dataset.loaded = "1";
      const element = await ask(withPart(fold.dataset.src));
      if (element) fold.querySelector("p").replaceWith(element);
      else delete fold.dataset.loaded;
    });
  }
}
folds(document);

const older = document.getElementById("older");
if (older) {
  const more = document.getElementById("more");
  let isBusy = false;
  const load = async () => {
    if (isBusy) return;
    isBusy = true;
    const rows = await ask(withPart(older.href));
    isBusy = false;
    if (!rows) return;
    localise(rows);
    more.append(...rows.rows);
    if (rows.dataset.older) older.href = rows.dataset.older;
    else {
      seen.disconnect();
      older.remove();
    }
  };
  const seen = new IntersectionObserver((entries) => {
    if (entries.some((entry) => entry.isIntersecting)) load();
  }, { rootMargin: "400px" });
  seen.observe(older);
  older.addEventListener("click", (event) => {
    event.preventDefault();
    load();
  });
}

// === A log ===

/** Lines that are in the page at a time: more would make a browser slow. */
const MOST_LINES = 2000;
const MOST_HITS = 20000;

function logView(box) {
  const { base, follow } = box.dataset;
  const said = document.getElementById("said");
  const followButton = document.getElementById("follow");
  let lines = document.getElementById("lines");
  let state = of(lines);
  let isBusy = false;
  /** Which lines are shown: what was asked for others before is too late. */
  let shown = 0;
  let isFollowing = false;
  let hits = [];
  let hitIds = new Set();
  let sought = null;
  let at = -1;
  let search = 0;

  function of(element) {
    const { before, after, live, ends, target, said } = element.dataset;
    return { before: before === "true", after: after === "true", live: live === "true", ends, target, said };
  }
  const container = () => new URLSearchParams(location.search).get("container");
  const first = () => lines.querySelector(".line")?.dataset.mark;
  const last = () => [...lines.children].findLast((child) => child.dataset.mark)?.dataset.mark;
  const isAtBottom = () => box.scrollHeight - box.scrollTop - box.clientHeight < 4;

  /** Scrolls the log alone, not the page. */
  function centre(element) {
    const distance = element.getBoundingClientRect().top - box.getBoundingClientRect().top;
    box.scrollTop += distance - box.clientHeight / 2;
  }

  async function load(fields) {
    const query = new URLSearchParams(fields);
    if (container()) query.set("container", container());
    const element = await ask(`${base}/window?${query}`);
    if (element) localise(element);
    return element;
  }

  function say(text) {
    said.textContent = text;
  }

  /** Other lines instead of those that are there. */
  async function show(fields, where) {
    const mine = ++shown;
    isBusy = true;
    const element = await load(fields);
    if (mine !== shown) return;
    isBusy = false;
    if (!element) return say("The log can't be read now.");
    lines.replaceWith(element);
    lines = element;
    state = of(element);
    if (element.childElementCount) document.getElementById("none")?.remove();
    mark();
    const target = state.target && document.getElementById(state.target);
    if (target) {
      target.classList.add("target");
      centre(target);
    } else box.scrollTop = where === "end" ? box.scrollHeight : 0;
    if (state.said) say(state.said);
  }

  /** Takes lines out at one side; what is on the screen stays where it is. */
  function trim(side) {
    let over = lines.childElementCount - MOST_LINES;
    if (over <= 0) return;
    const height = box.scrollHeight;
    while (over-- > 0) (side === "first" ? lines.firstElementChild : lines.lastElementChild).remove();
    if (side === "first") {
      state.before = true;
      // Gaps belong to the line after them.
      box.scrollTop -= height - box.scrollHeight;
    } else {
      while (lines.lastElementChild && !lines.lastElementChild.dataset.mark) lines.lastElementChild.remove();
      state.after = true;
      state.ends = undefined;
    }
  }

  async function forward() {
    if (isBusy || !state.after) return;
    const mine = shown;
    isBusy = true;
    const element = await load({ after: last() });
    if (mine !== shown) return;
    if (element) {
      const { after, live, ends } = of(element);
      Object.assign(state, { after, live, ends });
      lines.append(...element.children);
      mark();
      trim("first");
    }
    isBusy = false;
  }

  async function backward() {
    if (isBusy || !state.before || !first()) return;
    const mine = shown;
    isBusy = true;
    const element = await load({ before: first() });
    if (mine !== shown) return;
    if (element) {
      state.before = of(element).before;
      const height = box.scrollHeight;
      lines.prepend(...element.children);
      box.scrollTop += box.scrollHeight - height;
      mark();
      trim("last");
    }
    isBusy = false;
  }

  /** What has come since. */
  async function fresh() {
    if (isBusy || state.after || state.ends === undefined) return;
    const mine = shown;
    isBusy = true;
    const element = await load({ ends: state.ends, lines: MOST_LINES });
    if (mine !== shown) return;
    if (element) {
      const { after, live, ends } = of(element);
      Object.assign(state, { after, live });
      // Where there are more than fit, reading goes on from the last of them.
      state.ends = after ? undefined : ends;
      if (element.childElementCount) {
        document.getElementById("none")?.remove();
        lines.append(...element.children);
        mark();
        if (isFollowing) {
          trim("first");
          box.scrollTop = box.scrollHeight;
        } else if (lines.childElementCount > MOST_LINES) trim("first");
      }
    }
    isBusy = false;
    showFollowing();
  }

  // --- Following ---

  function showFollowing() {
    followButton.hidden = !state.live;
    followButton.setAttribute("aria-pressed", String(isFollowing && state.live));
    followButton.textContent = isFollowing ? "Following" : "Follow";
  }

  async function startFollowing() {
    isFollowing = true;
    if (state.after || state.ends === undefined) await show({ go: "end" }, "end");
    box.scrollTop = box.scrollHeight;
    showFollowing();
  }

  followButton.addEventListener("click", () => {
    if (isFollowing) {
      isFollowing = false;
      showFollowing();
    } else startFollowing();
  });

  async function live() {
    let hint = null;
    let isOpen = false;
    if (follow) {
      // It says that there is something; what it is, is asked for, so that nothing is lost or doubled when it breaks off.
      const events = new EventSource(follow);
      events.onopen = () => { isOpen = true; };
      events.onerror = () => { isOpen = false; };
      events.onmessage = () => { hint?.(); };
      events.addEventListener("end", () => {
        events.close();
        isOpen = false;
        hint?.();
      });
    }
    while (state.live || state.after || state.ends === undefined) {
      const hinted = new Promise((done) => { hint = done; });
      await Promise.race([hinted, pause(isOpen ? 10000 : 1000)]);
      await untilSeen();
      await fresh();
    }
    showFollowing();
  }

  let top = box.scrollTop;
  box.addEventListener("scroll", () => {
    const isUp = box.scrollTop < top - 1;
    top = box.scrollTop;
    if (isFollowing && isUp && !isAtBottom()) {
      isFollowing = false;
      showFollowing();
    }
    if (box.scrollTop < box.clientHeight * 1.5) backward();
    if (box.scrollHeight - box.scrollTop - box.clientHeight < box.clientHeight * 1.5) forward();
  }, { passive: true });

  // --- Search ---

  function mark() {
    const ranges = [];
    for (const line of lines.children) {
      const isHit = hitIds.has(line.dataset.mark);
      line.classList.toggle("hit", isHit);
      line.classList.toggle("current", isHit && line.dataset.mark === hits[at]);
      if (isHit && sought) ranges.push(...rangesIn(line.querySelector(".text")));
    }
    if (window.Highlight && CSS.highlights) CSS.highlights.set("found", new Highlight(...ranges));
  }

  function rangesIn(element) {
    const ranges = [];
    const walker = document.createTreeWalker(element, NodeFilter.SHOW_TEXT);
    for (let node = walker.nextNode(); node; node = walker.nextNode()) {
      const text = node.data.toLowerCase();
      // Some letters are longer in small: their places are not known.
      if (text.length !== node.data.length) continue;
      for (let place = text.indexOf(sought); place >= 0; place = text.indexOf(sought, place + sought.length)) {
        const range = new Range();
        range.setStart(node, place);
        range.setEnd(node, place + sought.length);
        ranges.push(range);
      }
    }
    return ranges;
  }

  async function find(text, isRegex) {
    const mine = ++search;
    hits = [];
    hitIds = new Set();
    at = -1;
    sought = isRegex || !text ? null : text.toLowerCase();
    mark();
    if (!text) return say("");
    let after = null;
    do {
      say(hits.length ? `${hits.length.toLocaleString()} hits so far …` : "Searching …");
      const query = new URLSearchParams({ q: text });
      if (isRegex) query.set("regex", "1");
      if (container()) query.set("container", container());
      if (after) query.set("after", after);
      let found;
      try {
        const answer = await fetch(`${base}/find?${query}`, { cache: "no-store" });
        if (!answer.ok) {
          return say(answer.status === 400 ? "That is no regular expression." : "The log can't be searched now.");
        }
        found = await answer.json();
      } catch {
        return say("The log can't be searched now.");
      }
      if (mine !== search) return;
      const isFirst = hits.length === 0;
      hits.push(...found.marks);
      for (const place of found.marks) hitIds.add(place);
      after = found.next;
      if (isFirst && hits.length) await jump(0);
      else mark();
      if (mine !== search) return;
    } while (after && hits.length < MOST_HITS);
    isComplete = !after;
    tellHits();
  }
  let isComplete = true;

  function tellHits() {
    if (!hits.length) return say("Nothing was found.");
    const count = `${hits.length.toLocaleString()}${isComplete ? "" : "+"}`;
    say(`${at + 1} of ${count} ${hits.length === 1 ? "hit" : "hits"}`);
  }

  async function jump(to) {
    if (!hits.length) return;
    isFollowing = false;
    at = (to + hits.length) % hits.length;
    const id = `L${hits[at].split("@")[0]}`;
    const there = document.getElementById(id);
    if (there) {
      mark();
      centre(there);
    } else await show({ line: hits[at] });
    showFollowing();
    tellHits();
  }

  document.getElementById("next").addEventListener("click", () => jump(at + 1));
  document.getElementById("previous").addEventListener("click", () => jump(at - 1));
  const choose = document.getElementById("choose");
  choose.addEventListener("submit", (event) => {
    const chosen = choose.container.value;
    if (chosen !== (container() ?? "")) return;
    event.preventDefault();
    const text = choose.q.value.trim();
    if (text && text === choose.dataset.text && hits.length) jump(at + 1);
    else find(text, choose.regex.checked);
    choose.dataset.text = text;
  });
  choose.container.addEventListener("change", () => choose.requestSubmit());
  addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || event.target.matches("input:not([type=checkbox]), select")) return;
    if (event.key === "n" || event.key === "j") jump(at + 1);
    if (event.key === "p" || event.key === "k" || event.key === "N") jump(at - 1);
  });

  // --- Going elsewhere ---

  for (const link of document.querySelectorAll("a[data-go]")) {
    link.addEventListener("click", async (event) => {
      if (event.ctrlKey || event.metaKey) return;
      event.preventDefault();
      isFollowing = false;
      say("");
      await show({ go: link.dataset.go }, link.dataset.go);
      showFollowing();
    });
  }
  const goto = document.getElementById("goto");
  document.getElementById("zone").textContent = "yours";
  goto.addEventListener("submit", (event) => {
    event.preventDefault();
    const time = new Date(goto.since.value);
    if (Number.isNaN(time.getTime())) return say("Choose a time first.");
    isFollowing = false;
    show({ since: time.toISOString() });
  });
  const wrap = document.getElementById("wrap");
  const wrapLines = () => box.classList.toggle("wrapped", wrap.checked);
  wrap.addEventListener("change", wrapLines);
  wrapLines();
  box.addEventListener("click", (event) => {
    const link = event.target.closest("a.at");
    if (!link || event.ctrlKey || event.metaKey) return;
    event.preventDefault();
    for (const other of lines.querySelectorAll(".target")) other.classList.remove("target");
    const line = link.closest(".line");
    line.classList.add("target");
    const query = new URLSearchParams({ line: line.id.slice(1) });
    if (container()) query.set("container", container());
    history.replaceState(null, "", `${location.pathname}?${query}#${line.id}`);
    say("The address of this page is now that of the line.");
  });

  const query = new URLSearchParams(location.search);
  const wanted = location.hash.startsWith("#L") ? location.hash.slice(1) : state.target;
  const target = wanted && document.getElementById(wanted);
  if (target) {
    target.classList.add("target");
    centre(target);
  } else if (wanted) show({ line: wanted.slice(1) });
  if (query.get("q")) {
    choose.dataset.text = query.get("q");
    find(query.get("q"), query.has("regex"));
  } else if (!wanted && state.live && !["since", "before", "after"].some((field) => query.has(field)) && query.get("go") !== "start") {
    startFollowing();
  } else if (query.get("go") === "end") box.scrollTop = box.scrollHeight;
  showFollowing();
  if (state.live) live();
}
const log = document.getElementById("log");
if (log) logView(log);

// === Keys ===

addEventListener("keydown", (event) => {
  if (event.key !== "/" || event.ctrlKey || event.metaKey || event.altKey || event.target.matches("input, select, textarea")) return;
  const field = document.querySelector("[data-search]");
  if (!field) return;
  event.preventDefault();
  field.focus();
  field.select();
});
if (!log) {
  addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || event.target.matches("input:not([type=checkbox]), select")) return;
    const step = { j: 1, n: 1, k: -1, p: -1 }[event.key];
    const links = [...document.querySelectorAll(".runs tbody th a")];
    if (!step || !links.length) return;
    const at = links.findIndex((link) => link.closest("tr").contains(document.activeElement));
    links[Math.min(Math.max(at + step, 0), links.length - 1)].focus();
  });
}
