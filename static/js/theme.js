/* Loaded before anything is painted, so that the chosen theme never flashes. */
(function () {
  'use strict';
  try {
    var saved = localStorage.getItem('theme');
    if (saved === 'light' || saved === 'dark') { document.documentElement.dataset.theme = saved; }
  } catch (error) { /* no storage: the system's theme */ }
  document.documentElement.dataset.js = 'on';
})();
