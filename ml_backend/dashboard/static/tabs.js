// Brings the tab of this page into view where the tabs are wider than the window.
"use strict";
const tab = document.querySelector(".pages [aria-current]");
if (tab) tab.parentElement.scrollLeft = tab.offsetLeft - (tab.parentElement.clientWidth - tab.offsetWidth) / 2;
