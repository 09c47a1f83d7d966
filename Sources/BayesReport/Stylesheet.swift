extension Markup {
  /// The style of the page: light, dark and print, from 320 pixels up.
  ///
  /// Series colours are those of Okabe and Ito, distinct to colour-blind readers; dashes tell the
  /// lines apart without any colour.
  static let stylesheet: Markup = """
    :root {
      color-scheme: light dark;
      --text: #1b1f23; --muted: #57606a; --page: #ffffff; --panel: #f5f7f9; --edge: #d0d7de;
      --grid: #e4e8ec; --good: #00624a; --bad: #a03c00; --known: #56b4e9;
      --accuracy: #0072b2; --gap: #d55e00;
      --s0: #1b1f23; --s1: #0072b2; --s2: #d55e00; --s3: #009e73; --s4: #b8578f; --s5: #c98500;
      --s6: #3a93c7; --s7: #6b6b6b;
    }
    @media (prefers-color-scheme: dark) {
      :root {
        --text: #e6edf3; --muted: #9aa5b1; --page: #0f1318; --panel: #171d24; --edge: #36404a;
        --grid: #28313a; --good: #3ddbb0; --bad: #ff9a5c; --known: #2f7fb0;
        --accuracy: #3d9bd8; --gap: #f07a2a;
        --s0: #e6edf3; --s1: #56b4e9; --s2: #f07a2a; --s3: #1fc596; --s4: #e08dbb; --s5: #e69f00;
        --s6: #8fd0f5; --s7: #a8a8a8;
      }
    }
    * { box-sizing: border-box; }
    body {
      margin: 0; background: var(--page); color: var(--text);
      font: 1rem/1.55 system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif;
    }
    main { max-width: 76rem; margin: 0 auto; padding: 1.5rem clamp(0.9rem, 3vw, 2.5rem) 4rem; }
    h1, h2, h3, h4, h5 { line-height: 1.25; overflow-wrap: anywhere; text-wrap: balance; }
    h1 { font-size: clamp(1.5rem, 4vw, 2.1rem); margin: 0.5rem 0 0.8rem; }
    h2 { font-size: 1.35rem; margin: 2.6rem 0 0.6rem; }
    h3 { font-size: 1.1rem; margin: 1.4rem 0 0.4rem; }
    h4 { font-size: 1.05rem; margin: 1.8rem 0 0.3rem; }
    h5 { font-size: 0.95rem; margin: 1.2rem 0 0.3rem; }
    p, li, dd { max-width: 75ch; overflow-wrap: anywhere; }
    p { margin: 0.4rem 0 0.8rem; }
    small { color: var(--muted); font-size: 0.82em; font-weight: 400; }
    code { font-family: ui-monospace, SFMono-Regular, Menlo, Consolas, monospace; font-size: 0.86em; }
    .verdict { font-size: 1.1rem; }
    .warnings {
      border: 1px solid var(--bad); border-left-width: 0.4rem; border-radius: 0.4rem;
      padding: 0.2rem 1rem 0.6rem; margin-top: 1.5rem;
    }
    .warnings h2 { margin-top: 0.8rem; font-size: 1.1rem; }
    /* A shadow at an edge behind which there is more; covers that move with the table hide it at the ends. */
    .scroll {
      overflow-x: auto; border: 1px solid var(--edge); border-radius: 0.4rem; margin: 0.6rem 0;
      background:
        linear-gradient(to right, var(--page) 40%, transparent) left / 2.5rem 100% no-repeat local,
        linear-gradient(to left, var(--page) 40%, transparent) right / 2.5rem 100% no-repeat local,
        linear-gradient(to right, var(--edge), transparent) left / 0.9rem 100% no-repeat scroll,
        linear-gradient(to left, var(--edge), transparent) right / 0.9rem 100% no-repeat scroll;
    }
    table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; font-size: 0.93rem; }
    th, td {
      position: relative; padding: 0.45rem 0.8rem; text-align: right; vertical-align: top;
      white-space: nowrap; overflow-wrap: break-word;
    }
    th[scope="row"], th:first-child { text-align: left; }
    th[scope="row"] { font-weight: 500; white-space: normal; min-width: 9rem; max-width: 20rem; }
    thead th { color: var(--muted); font-weight: 600; border-bottom: 1px solid var(--edge); }
    tbody tr + tr > * { border-top: 1px solid var(--grid); }
    tr.group th { background: var(--panel); text-align: left; font-weight: 600; }
    tbody + tbody tr.group th { border-top: 1px solid var(--edge); }
    td.none { color: var(--muted); }
    td strong { text-decoration: underline; text-underline-offset: 0.2em; }
    .settings span { display: block; }
    .settings { font-size: 0.86em; }
    .delta { display: block; font-size: 0.86em; color: var(--muted); }
    .better { color: var(--good); font-weight: 600; }
    .worse { color: var(--bad); font-weight: 600; }
    .provenance th[scope="row"] { min-width: 7rem; width: 11rem; }
    .provenance td { text-align: left; white-space: normal; overflow-wrap: anywhere; min-width: 14rem; }
    .hidden {
      position: absolute; width: 1px; height: 1px; overflow: hidden; clip-path: inset(50%);
      white-space: nowrap;
    }
    details > summary { cursor: pointer; }
    details.exit {
      border: 1px solid var(--edge); border-radius: 0.4rem; padding: 0 1rem; margin: 0.7rem 0;
    }
    details.exit > summary { padding: 0.7rem 0; }
    details.exit[open] { padding-bottom: 1rem; }
    details.exit > summary h3 { display: inline; margin: 0; }
    details details > summary { color: var(--muted); padding: 0.35rem 0; }
    .charts {
      display: grid; gap: 1rem 1.4rem;
      grid-template-columns: repeat(auto-fill, minmax(min(100%, 19rem), 1fr));
    }
    .charts.small { grid-template-columns: repeat(auto-fill, minmax(min(100%, 14.5rem), 1fr)); }
    figure { margin: 0; min-width: 0; max-width: 26rem; break-inside: avoid; }
    figure.wide { max-width: 44rem; }
    figure > svg { display: block; width: 100%; height: auto; }
    figcaption { text-align: center; font-size: 0.93rem; font-weight: 600; overflow-wrap: anywhere; }
    .legend { list-style: none; display: flex; flex-wrap: wrap; gap: 0.2rem 1.3rem; margin: 0.5rem 0; padding: 0; }
    .legend li { display: flex; align-items: center; gap: 0.5rem; font-size: 0.92rem; }
    .examples { list-style: none; display: flex; flex-wrap: wrap; gap: 0.9rem 1.1rem; margin: 0.4rem 0; padding: 0; }
    .examples li { width: 7.5rem; font-size: 0.9rem; line-height: 1.35; break-inside: avoid; }
    .examples li > * { display: block; }
    .examples img { width: 5.5rem; height: auto; image-rendering: pixelated; border: 1px solid var(--edge); }
    table.maps img { display: block; width: 6rem; height: auto; image-rendering: pixelated; border: 1px solid var(--edge); margin-left: auto; }
    .swatch { width: 34px; height: 14px; flex: none; }
    dl { display: grid; grid-template-columns: minmax(6rem, 11rem) 1fr; gap: 0.35rem 1.2rem; }
    dt { font-weight: 600; }
    dd { margin: 0; }
    svg text { font-family: inherit; fill: var(--text); }
    svg .tick { font-size: 11px; fill: var(--muted); }
    svg .label { font-size: 12px; }
    svg .value { font-size: 13px; font-weight: 600; }
    svg .halo { paint-order: stroke; stroke: var(--page); stroke-width: 4px; stroke-linejoin: round; }
    svg .grid { stroke: var(--grid); fill: none; }
    svg .frame { stroke: var(--edge); fill: none; }
    svg .diagonal { stroke: var(--muted); stroke-dasharray: 4 4; fill: none; }
    svg .accuracy { fill: var(--accuracy); fill-opacity: 0.85; }
    svg .gap { fill: var(--gap); fill-opacity: 0.28; stroke: var(--gap); stroke-width: 1.2; stroke-dasharray: 3 2; }
    svg .level { stroke: var(--text); stroke-width: 2.5; }
    svg .few { opacity: 0.4; }
    svg .rows { fill: var(--muted); }
    svg .known { fill: var(--known); fill-opacity: 0.75; }
    svg .line { fill: none; stroke-width: 2; stroke-linejoin: round; }
    svg .series-0 { stroke: var(--s0); }
    svg .series-1 { stroke: var(--s1); stroke-dasharray: 7 3; }
    svg .series-2 { stroke: var(--s2); }
    svg .series-3 { stroke: var(--s3); stroke-dasharray: 2 3; }
    svg .series-4 { stroke: var(--s4); stroke-dasharray: 9 3 2 3; }
    svg .series-5 { stroke: var(--s5); }
    svg .series-6 { stroke: var(--s6); stroke-dasharray: 5 2; }
    svg .series-7 { stroke: var(--s7); stroke-dasharray: 1 2; }
    svg .series-8 { stroke: var(--s1); }
    svg .series-9 { stroke: var(--s2); stroke-dasharray: 4 2 1 2; }
    @media (max-width: 36rem) {
      dl { grid-template-columns: 1fr; gap: 0.1rem; }
      dd { margin-bottom: 0.6rem; }
      th, td { padding: 0.4rem 0.55rem; }
      th[scope="row"] { min-width: 6.5rem; }
      details.exit { padding: 0 0.7rem; }
    }
    @media print {
      :root {
        color-scheme: light;
        --text: #000; --muted: #333; --page: #fff; --panel: #eee; --edge: #888; --grid: #ccc;
        --good: #000; --bad: #000; --known: #56b4e9; --accuracy: #0072b2; --gap: #d55e00;
        --s0: #000; --s1: #0072b2; --s2: #d55e00; --s3: #009e73; --s4: #b8578f; --s5: #c98500;
        --s6: #3a93c7; --s7: #6b6b6b;
      }
      body { font-size: 10pt; print-color-adjust: exact; }
      main { max-width: none; padding: 0; }
      .scroll { overflow: visible; border: 0; background: none; }
      table { font-size: 8.5pt; }
      /* Paper cannot be scrolled. */
      td small { display: block; }
      thead th { white-space: normal; }
      th, td { padding: 0.2rem 0.4rem; }
      p, tr, .legend, .warnings { break-inside: avoid; }
      tr.group, h2, h3, h4, h5, summary, .legend, section > p, details > p { break-after: avoid; }
      figcaption { font-size: 8pt; }
      /* Paper cannot be unfolded. */
      details::details-content { content-visibility: visible; block-size: auto; }
      details.exit { border: 0; padding: 0; }
      .charts { grid-template-columns: repeat(3, 1fr); }
      .charts.small { grid-template-columns: repeat(4, 1fr); }
    }
    """
}
