// Sphinx's default scores of search results; a page or section whose title is the query comes first.
var Scorer = {
  score: ([docname, title, anchor, descr, score]) => {
    const query = new URLSearchParams(location.search).get("q") || "";
    const last = title.split(" > ").pop().replace(/^[\d.]+ /, "");
    return score + (last.toLowerCase() === query.trim().toLowerCase() ? 100 : 0);
  },
  objNameMatch: 11,
  objPartialMatch: 6,
  objPrio: { 0: 15, 1: 5, 2: -5 },
  objPrioDefault: 0,
  title: 15,
  partialTitle: 7,
  term: 5,
  partialTerm: 2,
};
