/* Loaded before anything is painted, so that the chosen theme never flashes; and what all scripts speak with. */
(function () {
  'use strict';
  try {
    var saved = localStorage.getItem('theme');
    if (saved === 'light' || saved === 'dark') { document.documentElement.dataset.theme = saved; }
  } catch (error) { /* no storage: the system's theme */ }
  document.documentElement.dataset.js = 'on';
  // The page's language, as the viewer's own region writes numbers and dates in it.
  var page = document.documentElement.lang, spoken = page.split('-')[0];
  window.language = navigator.languages.find(function (one) { return one.split('-')[0] === spoken; }) || page;
  // A text in the page's language, with its {places} filled in. An English page has no window.words.
  window.gettext = function (text, values) {
    return ((window.words || {})[text] || text).replace(/{(\w+)}/g, function (place, name) { return values ? values[name] : place; });
  };
})();
