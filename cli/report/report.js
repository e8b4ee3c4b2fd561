"use strict";
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const PALETTE = {
    disabled: "#8c6d31", lazy: "#c49c2c", simple: "#e377c2", bucket: "#d62728",
    dynamic: "#ff7f0e", paged: "#9467bd", exclusive: "#17a2b8",
    tiled: "#1f77d0", planned: "#2ca05a", auto: "#607080",
  };
  const SPARE = ["#1f77d0", "#d62728", "#2ca05a", "#ff7f0e", "#9467bd",
                 "#17a2b8", "#e377c2", "#8c6d31", "#c49c2c", "#607080"];
  const MAX_SHOWN_RATIO = 6;  // policies with a larger run ratio start hidden

  // ---- Text ----------------------------------------------------------------

  const grouped = (n) => n.toLocaleString("en-US");
  const fixed = (digits) => (n) =>
    n.toLocaleString("en-US", { minimumFractionDigits: digits,
                                maximumFractionDigits: digits });
  const megabytes = (n) => fixed(1)(n / 1e6);

  function bytes(n) {
    if (n >= 1e9) return fixed(n >= 1e10 ? 2 : 3)(n / 1e9) + " GB";
    if (n >= 1e6) return fixed(n >= 1e8 ? 1 : 2)(n / 1e6) + " MB";
    if (n >= 1e3) return fixed(1)(n / 1e3) + " kB";
    return grouped(n) + " B";
  }

  function binary(n) {
    const units = ["bytes", "KiB", "MiB", "GiB"];
    let unit = 0;
    while (n >= 1024 && unit + 1 < units.length) { n /= 1024; ++unit; }
    return `${+n.toFixed(2)} ${units[unit]}`;
  }

  function seconds(us, step) {
    if (step >= 1e6) return `${fixed(0)(us / 1e6)} s`;
    if (step >= 1e5) return `${fixed(1)(us / 1e6)} s`;
    if (step >= 1e3) return `${fixed(step >= 1e4 ? 2 : 3)(us / 1e6)} s`;
    return `${fixed(step >= 1 ? 0 : 1)(us)} us`;
  }

  function make(tag, attributes, ...children) {
    const element = document.createElement(tag);
    for (const [name, value] of Object.entries(attributes || {})) {
      if (name === "class") element.className = value;
      else if (name.startsWith("on")) element[name] = value;
      else if (value !== undefined) element.setAttribute(name, value);
    }
    element.append(...children);
    return element;
  }

  function dot(colour) {
    const element = make("span", { class: "dot" });
    element.style.background = colour;
    return element;
  }

  const title = (row) =>
    row.policy === row.policy_in_use ? row.policy
      : `${row.policy}: ${row.policy_in_use}`;
  const isWhole = (row) => row.complete && row.failures === 0;

  // ---- Figures -------------------------------------------------------------

  const COLUMNS = [
    { head: "peak live\nMB", key: "peak_live_bytes", show: megabytes },
    { head: "reserved\nMB", key: "peak_reserved_bytes", show: megabytes, best: true },
    { head: "ratio", key: "ratio", show: fixed(4), best: true },
    { head: "run ratio", key: "run_ratio", show: fixed(4), best: true },
    { head: "average\nMB", key: "average_reserved_bytes", show: megabytes, best: true },
    { head: "driver\ncalls", key: "driver_calls", show: grouped, best: true },
    { head: "allocs\na late run", key: "allocations_per_late_run", show: fixed(2), best: true },
    { head: "tiles\nmoved", key: "tiles_remapped", show: grouped, best: true },
    { head: "moved\na late run", key: "tiles_remapped_per_late_run", show: fixed(2), best: true },
    { head: "waits", key: "waits", show: grouped, best: true },
    { head: "ns/op\nmedian", key: "ns_per_op_median", show: fixed(1), best: true },
    { head: "ns/op\np99", key: "ns_per_op_p99", show: fixed(1), best: true },
    { head: "driver\nms", key: "driver_ns", show: (n) => fixed(1)(n / 1e6), best: true },
    { head: "failures", key: "failures", show: grouped },
  ];

  const shown = (column, row) =>
    row[column.key] === null ? "-" : column.show(row[column.key]);

  // The text of the best cell; null when more than half of the rows have it.
  function bestText(column, rows) {
    const whole = rows.filter((row) => isWhole(row) && row[column.key] !== null);
    if (!column.best || whole.length === 0) return null;
    const lowest = whole.reduce((a, b) => b[column.key] < a[column.key] ? b : a);
    const text = shown(column, lowest);
    const same = whole.filter((row) => shown(column, row) === text).length;
    return same * 2 <= rows.length ? text : null;
  }

  function figureRow(row, colour, bests) {
    const cells = COLUMNS.map((column, i) => {
      const text = shown(column, row);
      let kind = isWhole(row) && text === bests[i] ? "best" : "";
      if (column.key === "failures" && row.failures) kind = "bad";
      return make("td", { class: kind }, text);
    });
    return make("tr", { class: isWhole(row) ? "" : "failed" },
                make("td", {}, dot(colour), title(row)), ...cells);
  }

  function figureTable(trace) {
    const bests = COLUMNS.map((column) => bestText(column, trace.rows));
    const body = make("tbody", {});
    const fill = (rows) => body.replaceChildren(
      ...rows.map((row) => figureRow(row, row.colour, bests)));
    const heads = COLUMNS.map((column) => {
      const head = make("th", { scope: "col" });
      head.append(make("button", { type: "button", onclick: () => {
        const isUp = head.getAttribute("aria-sort") !== "ascending";
        for (const other of heads) other.removeAttribute("aria-sort");
        head.setAttribute("aria-sort", isUp ? "ascending" : "descending");
        fill([...trace.rows].sort((a, b) =>
          (a[column.key] - b[column.key]) * (isUp ? 1 : -1)));
      } }, column.head));
      return head;
    });
    fill(trace.rows);
    return make("div", { class: "scroll", tabindex: "0", role: "region",
                         "aria-label": `figures of ${trace.name}` },
      make("table", {},
        make("thead", {}, make("tr", {}, make("th", { scope: "col" }, "policy"),
                               ...heads)),
        body));
  }

  function troubles(trace) {
    const texts = [];
    for (const row of trace.rows) {
      if (row.failure) texts.push(`${row.policy} failed: ${row.failure}`);
      if (row.mismatch) {
        texts.push(`${row.policy}: ${grouped(row.verify_mismatches)} buffers ` +
                   `did not keep their bytes; first: ${row.mismatch}`);
      }
    }
    return texts.map((text) => make("div", { class: "trouble" }, text));
  }

  // ---- Timeline ------------------------------------------------------------

  // Samples come as differences, of microseconds and of KiB.
  function unpack(samples) {
    const sums = (list, scale) => {
      let sum = 0;
      return Float64Array.from(list, (step) => (sum += step) * scale);
    };
    return { t: sums(samples.t, 1), live: sums(samples.live, 1024),
             mapped: sums(samples.mapped, 1024),
             reserved: sums(samples.reserved, 1024) };
  }

  // Index of the last time that is not above |t|; 0 at least.
  function indexAt(times, t) {
    let low = 0;
    let high = times.length - 1;
    while (low < high) {
      const middle = (low + high + 1) >> 1;
      if (times[middle] <= t) low = middle; else high = middle - 1;
    }
    return low;
  }

  function valueAt(line, kind, t) {
    const i = indexAt(line.t, t);
    const next = Math.min(i + 1, line.t.length - 1);
    const width = line.t[next] - line.t[i];
    const share = width > 0 ? Math.min(1, Math.max(0, (t - line.t[i]) / width)) : 0;
    return line[kind][i] + (line[kind][next] - line[kind][i]) * share;
  }

  function niceStep(span, count) {
    const rough = span / count;
    const power = 10 ** Math.floor(Math.log10(rough));
    const unit = rough / power;
    return (unit <= 1 ? 1 : unit <= 2 ? 2 : unit <= 5 ? 5 : 10) * power;
  }

  class Timeline {
    constructor(trace) {
      this.rows = trace.rows.filter((row) => row.line.t.length > 0);
      const ends = this.rows.map((row) => row.line.t[row.line.t.length - 1]);
      this.end = Math.max(1, ...ends);
      this.runs = this.findRuns();
      this.view = this.runs || [0, this.end];
      this.kinds = { live: true, mapped: this.rows.length <= 2, reserved: true };
      this.fromZero = false;
      this.hover = null;
      this.drag = null;
      this.raised = null;
      this.canvas = make("canvas", { tabindex: "0", role: "img",
        "aria-label": `live, mapped and reserved bytes of ${trace.name} over time` });
      this.tip = make("div", { class: "tip" });
      this.tip.hidden = true;
      this.box = make("div", { class: "chart" }, this.canvas, this.tip);
      this.element = make("div", {}, this.tools(), this.box, this.legend(),
        make("p", { class: "soft hint" },
          "Drag to zoom in, double-click to see all; click first to zoom with " +
          "the wheel and to move with the arrow keys."));
      this.listen();
    }

    // From the end of loading to the last run's; null if that is all there is.
    findRuns() {
      const row = this.rows.length ? this.liveRow() : null;
      if (!row || row.runs_end_ns <= row.load_end_ns) return null;
      // A little less: what follows the last run may have the same time.
      const begin = row.load_end_ns / 1000;
      const end = Math.min(this.end, row.runs_end_ns / 1000);
      return [begin, begin + (end - begin) * 0.9999];
    }

    // The longest-lived row has the live line for all: the trace is the same.
    liveRow() {
      return this.rows.reduce((a, b) =>
        b.line.t[b.line.t.length - 1] > a.line.t[a.line.t.length - 1] ? b : a);
    }

    chip(label, mark, isOn, flip) {
      const chip = make("button", { class: "chip", type: "button",
                                    "aria-pressed": String(isOn) });
      if (mark) chip.append(mark);
      chip.append(label);
      chip.onclick = () => {
        const next = chip.getAttribute("aria-pressed") !== "true";
        chip.setAttribute("aria-pressed", String(next));
        flip(next);
        this.draw();
      };
      return chip;
    }

    tools() {
      const kind = (name, mark) =>
        this.chip(name, make("span", { class: mark }), this.kinds[name],
                  (isOn) => { this.kinds[name] = isOn; });
      const button = (text, label, run) =>
        make("button", { class: "chip", type: "button", "aria-label": label,
                         title: label, onclick: run }, text);
      return make("div", { class: "bar" },
        kind("live", "area"), kind("mapped", "dash"), kind("reserved", "rule"),
        this.chip("from zero", null, this.fromZero,
                  (isOn) => { this.fromZero = isOn; }),
        make("span", { class: "space" }),
        make("span", { class: "group" },
          button("\u2212", "zoom out", () => this.zoom(2)),
          button("+", "zoom in", () => this.zoom(0.5)),
          button("\u2190", "earlier", () => this.pan(-0.4)),
          button("\u2192", "later", () => this.pan(0.4)),
          ...(this.runs
            ? [button("runs", "see all runs, without loading",
                      () => this.show(...this.runs))]
            : []),
          button("all", "see all", () => this.show(0, this.end))));
    }

    legend() {
      const bar = make("div", { class: "bar" });
      for (const row of this.rows) {
        const chip = this.chip(title(row), dot(row.colour), row.isShown,
                               (isOn) => { row.isShown = isOn; });
        chip.onpointerenter = (event) => {
          if (event.pointerType !== "mouse") return;
          this.raised = row;
          this.draw();
        };
        chip.onpointerleave = () => { this.raised = null; this.draw(); };
        bar.append(chip);
      }
      return bar;
    }

    // ---- Moving about

    show(begin, end) {
      const least = Math.max(1, this.end / 1e5);
      let width = Math.min(this.end, Math.max(least, end - begin));
      begin = Math.min(Math.max(0, begin), this.end - width);
      this.view = [begin, begin + width];
      this.draw();
    }

    zoom(factor, around) {
      const [begin, end] = this.view;
      const centre = around === undefined ? (begin + end) / 2 : around;
      this.show(centre - (centre - begin) * factor,
                centre + (end - centre) * factor);
    }

    pan(share) {
      const [begin, end] = this.view;
      const step = (end - begin) * share;
      this.show(begin + step, end + step);
    }

    timeAt(x) {
      const { left, width } = this.frame;
      const [begin, end] = this.view;
      const share = Math.min(1, Math.max(0, (x - left) / width));
      return begin + share * (end - begin);
    }

    listen() {
      const canvas = this.canvas;
      const x = (event) => event.clientX - canvas.getBoundingClientRect().left;
      canvas.onpointerdown = (event) => {
        if (event.button !== 0) return;
        canvas.setPointerCapture(event.pointerId);
        this.drag = [x(event), x(event)];
        this.hover = x(event);
        this.draw();
      };
      canvas.onpointermove = (event) => {
        this.hover = x(event);
        if (this.drag) this.drag[1] = x(event);
        this.draw();
      };
      canvas.onpointerup = () => {
        const drag = this.drag;
        this.drag = null;
        if (drag && Math.abs(drag[1] - drag[0]) > 8) {
          const times = drag.map((at) => this.timeAt(at)).sort((a, b) => a - b);
          this.show(times[0], times[1]);
        } else {
          this.draw();
        }
      };
      canvas.onpointercancel = () => { this.drag = null; this.draw(); };
      canvas.onpointerleave = () => {
        if (this.drag) return;
        this.hover = null;
        this.draw();
      };
      canvas.ondblclick = () => this.show(0, this.end);
      canvas.addEventListener("wheel", (event) => {
        const isMine = event.ctrlKey || document.activeElement === canvas;
        if (!isMine) return;
        event.preventDefault();
        if (event.shiftKey || Math.abs(event.deltaX) > Math.abs(event.deltaY)) {
          this.pan((event.deltaX || event.deltaY) / 1000);
        } else {
          this.zoom(Math.exp(event.deltaY / 400), this.timeAt(x(event)));
        }
      }, { passive: false });
      canvas.onkeydown = (event) => {
        const actions = { ArrowLeft: () => this.pan(-0.2),
          ArrowRight: () => this.pan(0.2), "+": () => this.zoom(0.5),
          "=": () => this.zoom(0.5), "-": () => this.zoom(2),
          0: () => this.show(0, this.end), Escape: () => canvas.blur() };
        if (!actions[event.key]) return;
        event.preventDefault();
        actions[event.key]();
      };
      new ResizeObserver(() => this.draw()).observe(this.box);
      matchMedia("(prefers-color-scheme: dark)")
        .addEventListener("change", () => this.draw());
    }

    // ---- Drawing

    // What is drawn, as [row, kind], the live line first.
    series() {
      const list = [];
      const shownRows = this.rows.filter((row) => row.isShown);
      if (this.kinds.live && this.rows.length) list.push([this.liveRow(), "live"]);
      for (const kind of ["mapped", "reserved"]) {
        if (!this.kinds[kind]) continue;
        for (const row of shownRows) list.push([row, kind]);
      }
      return list;
    }

    // Lowest and highest bytes in view.
    range(series) {
      let low = Infinity;
      let high = 0;
      for (const [row, kind] of series) {
        const line = row.line;
        const visit = (value) => {
          if (value < low) low = value;
          if (value > high) high = value;
        };
        const last = line.t[line.t.length - 1];
        if (this.view[0] > last) continue;
        visit(valueAt(line, kind, this.view[0]));
        if (this.view[1] <= last) visit(valueAt(line, kind, this.view[1]));
        for (let i = indexAt(line.t, this.view[0]);
             i < line.t.length && line.t[i] <= this.view[1]; ++i) {
          if (line.t[i] >= this.view[0]) visit(line[kind][i]);
        }
      }
      if (!(low < Infinity)) return [0, 1];
      if (this.fromZero) low = 0;
      const margin = Math.max((high - low) * 0.06, high * 0.001, 1);
      return [Math.max(0, low - margin), high + margin];
    }

    draw() {
      if (this.isWaiting) return;
      this.isWaiting = true;
      requestAnimationFrame(() => { this.isWaiting = false; this.paint(); });
    }

    paint() {
      const width = this.canvas.clientWidth;
      const height = this.canvas.clientHeight;
      if (!width || !height) return;
      const scale = window.devicePixelRatio || 1;
      if (this.canvas.width !== Math.round(width * scale) ||
          this.canvas.height !== Math.round(height * scale)) {
        this.canvas.width = Math.round(width * scale);
        this.canvas.height = Math.round(height * scale);
      }
      const style = getComputedStyle(document.documentElement);
      this.colour = (name) => style.getPropertyValue(name).trim();
      const context = this.canvas.getContext("2d");
      context.setTransform(scale, 0, 0, scale, 0, 0);
      context.clearRect(0, 0, width, height);
      context.font = "12px system-ui, sans-serif";
      this.frame = { left: 66, top: 10, width: width - 66 - 10,
                     height: height - 10 - 26 };
      const series = this.series();
      this.limits = this.range(series);
      this.paintAxes(context);
      context.save();
      context.beginPath();
      context.rect(this.frame.left, this.frame.top, this.frame.width,
                   this.frame.height);
      context.clip();
      for (const [row, kind] of series) this.paintLine(context, row, kind);
      this.paintMarks(context);
      context.restore();
      this.fillTip(series);
    }

    toX(t) {
      const [begin, end] = this.view;
      return this.frame.left + (t - begin) / (end - begin) * this.frame.width;
    }

    toY(value) {
      const [low, high] = this.limits;
      return this.frame.top +
        (1 - (value - low) / (high - low)) * this.frame.height;
    }

    paintAxes(context) {
      const { left, top, width, height } = this.frame;
      const [low, high] = this.limits;
      context.strokeStyle = this.colour("--grid");
      context.fillStyle = this.colour("--soft");
      context.lineWidth = 1;
      context.textAlign = "right";
      context.textBaseline = "middle";
      const step = niceStep(high - low, Math.max(2, height / 60));
      const unit = high >= 1e9 ? [1e9, "GB"] : high >= 1e6 ? [1e6, "MB"] : [1e3, "kB"];
      const digits = Math.max(0, Math.ceil(-Math.log10(step / unit[0]) - 1e-9));
      for (let value = Math.ceil(low / step) * step; value <= high; value += step) {
        const y = Math.round(this.toY(value)) + 0.5;
        context.beginPath();
        context.moveTo(left, y);
        context.lineTo(left + width, y);
        context.stroke();
        context.fillText(`${fixed(digits)(value / unit[0])} ${unit[1]}`, left - 8, y);
      }
      const [begin, end] = this.view;
      const stride = niceStep(end - begin, Math.max(2, width / 85));
      context.textBaseline = "top";
      context.textAlign = "center";
      for (let t = Math.ceil(begin / stride) * stride; t <= end; t += stride) {
        const x = this.toX(t);
        if (x > left + width - 16 && x < left + width) context.textAlign = "right";
        context.fillText(seconds(t, stride), Math.min(x, left + width),
                         top + height + 8);
      }
    }

    paintLine(context, row, kind) {
      const line = row.line;
      const first = indexAt(line.t, this.view[0]);
      const isDim = this.raised && this.raised !== row && kind !== "live";
      context.globalAlpha = isDim ? 0.15 : 1;
      context.lineWidth = kind === "mapped" ? 1.25 : this.raised === row ? 2.75 : 1.75;
      context.setLineDash(kind === "mapped" ? [5, 4] : []);
      context.strokeStyle = kind === "live" ? this.colour("--live") : row.colour;
      context.lineJoin = "round";
      context.beginPath();
      let x = this.toX(line.t[first]);
      const startX = x;
      context.moveTo(x, this.toY(line[kind][first]));
      for (let i = first + 1; i < line.t.length; ++i) {
        x = this.toX(line.t[i]);
        context.lineTo(x, this.toY(line[kind][i]));
        if (line.t[i] > this.view[1]) break;
      }
      context.stroke();
      if (kind === "live") {
        const floor = this.frame.top + this.frame.height;
        context.lineTo(x, floor);
        context.lineTo(startX, floor);
        context.fillStyle = this.colour("--live-fill");
        context.fill();
      }
      context.setLineDash([]);
      context.globalAlpha = 1;
    }

    paintMarks(context) {
      const { top, height } = this.frame;
      if (this.drag && Math.abs(this.drag[1] - this.drag[0]) > 3) {
        context.fillStyle = this.colour("--shade");
        context.fillRect(Math.min(...this.drag), top,
                         Math.abs(this.drag[1] - this.drag[0]), height);
      }
      if (this.hover === null) return;
      const x = Math.round(this.toX(this.timeAt(this.hover))) + 0.5;
      context.strokeStyle = this.colour("--soft");
      context.lineWidth = 1;
      context.beginPath();
      context.moveTo(x, top);
      context.lineTo(x, top + height);
      context.stroke();
    }

    fillTip(series) {
      this.tip.hidden = this.hover === null || series.length === 0;
      if (this.tip.hidden) return;
      const t = this.timeAt(this.hover);
      const step = (this.view[1] - this.view[0]) / 500;
      this.tip.replaceChildren(this.tipTable(series, t, seconds(t, step)));
      const gap = 14;
      const room = this.canvas.clientWidth - this.tip.offsetWidth;
      const isLeft = this.hover > this.canvas.clientWidth / 2;
      const wanted = isLeft ? this.hover - gap - this.tip.offsetWidth
                            : this.hover + gap;
      this.tip.style.left = `${Math.max(0, Math.min(room, wanted))}px`;
    }

    // A row a policy, the most reserved first, then what is live.
    tipTable(series, t, moment) {
      const kinds = ["reserved", "mapped"].filter((kind) => this.kinds[kind]);
      const alive = series.filter(([row]) => t <= row.line.t[row.line.t.length - 1]);
      const rows = [...new Set(alive.filter(([, kind]) => kind !== "live")
                                    .map(([row]) => row))];
      rows.sort((a, b) => valueAt(b.line, kinds[0], t) - valueAt(a.line, kinds[0], t));
      const line = (mark, name, values) =>
        make("tr", {}, make("td", {}, dot(mark), name),
             ...values.map((value) => make("td", {}, bytes(value))));
      const body = rows.map((row) =>
        line(row.colour, title(row),
             kinds.map((kind) => valueAt(row.line, kind, t))));
      const live = alive.find(([, kind]) => kind === "live");
      if (live) {
        body.push(line(this.colour("--live"), "live",
                       [valueAt(live[0].line, "live", t)]));
      }
      const heads = kinds.length > 1 ? kinds : [];
      return make("table", {}, make("tbody", {},
        make("tr", { class: "soft" }, make("td", {}, moment),
             ...heads.map((kind) => make("td", {}, kind))), ...body));
    }
  }

  // ---- The page ------------------------------------------------------------

  function prepare(trace) {
    trace.rows.forEach((row, i) => {
      row.colour = PALETTE[row.policy] || SPARE[i % SPARE.length];
      row.line = unpack(row.samples);
      row.isShown =
        row.run_ratio <= MAX_SHOWN_RATIO || trace.rows.length === 1;
    });
  }

  function headline(trace) {
    const row = trace.rows[0];
    const parts = [`${grouped(trace.events)} events`, `${grouped(trace.runs)} runs`];
    if (!row) return parts.join(", ");
    if (row.weights_bytes) parts.push(`${bytes(row.weights_bytes)} of weights`);
    parts.push(`peak live ${bytes(row.peak_live_bytes)}`);
    const ways = [row.device];
    if (row.tile_bytes) ways.push(`tiles of ${binary(row.tile_bytes)}`);
    ways.push(`batches of ${row.batch_requests}`, `latency ${row.latency_batches}`);
    if (row.scale < 1) ways.push(`sizes x ${row.scale}`);
    if (row.session_count > 1) ways.push(`${row.session_count} sessions`);
    if (row.repeat_count > 1) ways.push(`${row.repeat_count} times`);
    return `${parts.join(", ")}. Replayed on ${ways.join(", ")}.`;
  }

  function section(trace, index) {
    const timeline = new Timeline(trace);
    return make("section", { id: `trace-${index}` },
      make("h2", {}, trace.name),
      make("p", { class: "soft" }, headline(trace)),
      ...(timeline.rows.length ? [timeline.element] : []),
      figureTable(trace), ...troubles(trace));
  }

  // Policies against traces: the ratio, and the run ratio below it.
  function overview() {
    const names = [...new Set(data.traces.flatMap((trace) =>
      trace.rows.map((row) => row.policy)))];
    const cell = (trace, name) => {
      const row = trace.rows.find((other) => other.policy === name);
      if (!row) return make("td", {}, "-");
      if (!isWhole(row)) return make("td", { class: "bad" }, "failed");
      const column = COLUMNS.find((other) => other.key === "ratio");
      const text = shown(column, row);
      return make("td", { class: text === bestText(column, trace.rows) ? "best" : "" },
                  text);
    };
    const colourOf = (name) => {
      for (const trace of data.traces) {
        const row = trace.rows.find((other) => other.policy === name);
        if (row) return row.colour;
      }
      return "";
    };
    const links = data.traces.map((trace, i) =>
      make("th", { scope: "col" }, make("a", { href: `#trace-${i}` }, trace.name)));
    return make("section", {},
      make("h2", {}, "Peak reserved over peak live"),
      make("p", { class: "soft" },
        "1 would be a policy that never holds a byte more than the program asked " +
        "for at its peak."),
      make("div", { class: "scroll", tabindex: "0", role: "region",
                    "aria-label": "ratios of every trace" },
        make("table", {},
          make("thead", {}, make("tr", {}, make("th", { scope: "col" }, "policy"),
                                 ...links)),
          make("tbody", {}, ...names.map((name) =>
            make("tr", {}, make("td", {}, dot(colourOf(name)), name),
                 ...data.traces.map((trace) => cell(trace, name))))))));
  }

  data.traces.forEach(prepare);
  document.getElementById("top").append(
    make("h1", {}, "tegula replay"),
    make("p", {}, make("code", {}, data.command)),
    make("p", { class: "soft" }, `tegula ${data.version}, ${data.made}`));
  const page = document.getElementById("main");
  page.replaceChildren();
  if (data.traces.length > 1) page.append(overview());
  page.append(...data.traces.map(section));
  if (data.traces.length === 0) {
    page.append(make("section", {}, "No trace could be replayed."));
  }
  document.getElementById("bottom").append(
    "MB = 1,000,000 bytes. Reserved: most taken from the device at once. Ratio: " +
    "that over peak live. Run ratio: the same without the weights. Allocs: device " +
    "allocations. Tiles moved: mapped anew after they were mapped before. Late: in the second half of the runs. ns/op: one create or " +
    "destroy, over blocks of 256, without the driver and without waits. In the " +
    "charts, looks at the device are joined by lines, a peak between two of them " +
    "is drawn in the middle, and at most 2,000 points of each policy are kept.");
})();
