(function(){
var box=document.getElementById("q"),none=document.getElementById("q-none");
var items=[].slice.call(document.querySelectorAll("[data-search]"));
function fold(text){return text.toLowerCase().normalize("NFD").replace(/[\u0300-\u036f]/g,"")}
var words=items.map(function(item){return fold(item.getAttribute("data-search")+" "+item.textContent)});
function find(){
var wanted=fold(box.value).split(/\s+/).filter(Boolean),found=0;
items.forEach(function(item,i){var hit=wanted.every(function(word){return words[i].indexOf(word)>=0});item.hidden=!hit;found+=hit?1:0});
[].forEach.call(document.querySelectorAll(".group"),function(part){part.hidden=!part.querySelector("li:not([hidden])")});
none.textContent=found?"":none.getAttribute("data-text");
}
document.querySelector(".search").hidden=false;box.addEventListener("input",find);
}());
