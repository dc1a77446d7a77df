(() => {
  const element = (part) => document.getElementById("NAME-" + part);
  const data = JSON.parse(element("data").textContent);
  const field = element("guess");
  field.form.addEventListener("submit", (event) => {
    event.preventDefault();
    const guess = Number(field.value);
    const off = (guess - data.answer) / Math.abs(data.answer);
    const right = Math.abs(off) <= data.tolerance;
    const hint = right ? "" : off < 0 ? data.low : data.high;
    const side = off < 0 ? "below" : "above";
    const percent = 100 * Math.abs(off);
    const distance = percent < 1000 ? `${percent < 10 ? percent.toPrecision(2) : Math.round(percent)} %` : `${Math.round(percent / 100)} times its size`;
    const words = !data.open
      ? [right ? "Right." : off < 0 ? "Too small." : "Too large.", hint]
      : [`You said ${guess}, the answer is ${data.shown}:`, off === 0 ? "exactly." : `you are ${distance} ${side}.`, hint, data.why];
    element("told").textContent = words.filter(Boolean).join(" ");
  });
})();
