// Moves the curves of dmftlib.interactive with two native sliders. No physics: every curve comes from the data.
// The figure works offline and without scripts: the picture stays in its place unless plotly.js has loaded.
(() => {
  const part = (suffix) => document.getElementById("NAME-" + suffix);
  const data = JSON.parse(part("data").textContent);
  const [gamma0, rho, plot] = [part("gamma0"), part("rho"), part("plot")];

  // Axes (γ₀, ρ, …); rules without feedback weights have one entry for every ρ.
  const pick = (values) => {
    const row = values[gamma0.value];
    return row[Math.min(rho.value, row.length - 1)];
  };

  const traces = () =>
    data.quantities.flatMap((quantity, k) =>
      data.rules.map((rule) => ({
        x: data.times,
        y: pick(rule.curves[quantity.name]),
        name: rule.name,
        legendgroup: rule.name,
        showlegend: k === 0,
        xaxis: "x",
        yaxis: "y" + (k ? k + 1 : ""),
        mode: "lines",
        line: { color: rule.color, dash: rule.dash, width: 2 },
        hovertemplate: "%{y:.3g} at t = %{x:.2g}<extra>" + rule.name + "</extra>",
      }))
    );

  const layout = () => {
    const count = data.quantities.length;
    const axes = { xaxis: { title: { text: data.time }, anchor: "y" + count, range: [0, data.times.at(-1)] } };
    data.quantities.forEach((quantity, k) => {
      const top = 1 - k / count;
      axes["yaxis" + (k ? k + 1 : "")] = {
        title: { text: quantity.label, standoff: 8 },
        domain: [top - 0.88 / count, top],
        rangemode: "tozero",
        automargin: true,
      };
    });
    for (const axis of Object.values(axes)) Object.assign(axis, { showline: true, ticks: "outside", fixedrange: true });
    return {
      ...axes,
      height: 640,
      margin: { l: 68, r: 12, t: 8, b: 48 },
      paper_bgcolor: "white",
      plot_bgcolor: "white",
      font: { color: "black", size: 13 },
      legend: { orientation: "h", y: 1.02, yanchor: "bottom", x: 0 },
      dragmode: false, // a finger that moves over the figure scrolls the page
    };
  };

  const draw = () => {
    for (const [slider, name, values] of [[gamma0, "γ₀", data.gamma0], [rho, "ρ", data.rho]]) {
      const text = String(values[slider.value]);
      part(slider.id.slice("NAME-".length) + "-value").textContent = text;
      slider.setAttribute("aria-valuetext", name + " = " + text);
    }
    data.rules.forEach((rule, k) =>
      data.quantities.forEach((quantity, q) => {
        if (q) part("end-" + k + "-" + q).textContent = String(pick(rule.ends[quantity.name]));
      })
    );
    if (window.Plotly) Plotly.react(plot, traces(), layout(), { responsive: true, displayModeBar: false });
  };

  const start = () => {
    part("picture").hidden = true;
    for (const suffix of ["controls", "plot"]) part(suffix).hidden = false;
    for (const slider of [gamma0, rho]) slider.addEventListener("input", draw);
    draw();
  };

  const script = document.createElement("script");
  script.src = "../_static/plotly/plotly.min.js";
  script.onload = start;
  document.head.append(script);
})();
