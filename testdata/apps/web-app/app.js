'use strict';
// A page from a view, on the port that PORT names.
const fs = require('fs');
const http = require('http');
const path = require('path');

const view = fs.readFileSync(path.join(__dirname, 'views', 'home.html'), 'utf8');
const { version } = require('./package.json');

http.createServer((request, response) => {
  response.setHeader('Content-Type', 'text/html');
  response.end(view.replace('{{version}}', version));
}).listen(process.env.PORT || 8080, '127.0.0.1');
