"""A page that counts its visits in Redis."""
import os

import redis
from flask import Flask, render_template

app = Flask(__name__)
cache = redis.Redis(host=os.environ.get("REDIS", "redis"), port=6379)


@app.route("/")
def page():
    try:
        count = cache.incr("hits")
    except redis.exceptions.ConnectionError:
        return "no counter yet", 503
    return render_template("index.html", count=count)


@app.route("/health")
def health():
    return "well"


if __name__ == "__main__":
    app.run(host="127.0.0.1", port=int(os.environ.get("PORT", "8080")))
