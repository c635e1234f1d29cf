// The server says hello to whoever asks.
package main

import (
	"fmt"
	"log"
	"net/http"
	"os"
)

func main() {
	http.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintf(w, "hello, %s", r.URL.Query().Get("name"))
	})
	log.Fatal(http.ListenAndServe(os.Getenv("ADDRESS"), nil))
}
