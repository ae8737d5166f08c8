// net/http on the socket that was handed over as descriptor 3, with Shutdown on SIGTERM.
package main

import (
	"context"
	"fmt"
	"log"
	"net"
	"net/http"
	"os"
	"os/signal"
	"syscall"
	"time"
)

func main() {
	listener, err := net.FileListener(os.NewFile(3, "http"))
	if err != nil {
		log.Fatal(err)
	}
	body := fmt.Sprintf("%s %d\n", os.Getenv("HOTPIPE_GENERATION"), os.Getpid())
	server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprint(w, body)
	})}
	told, cancel := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer cancel()
	finished := make(chan struct{})
	go func() {
		<-told.Done()
		bounded, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		server.Shutdown(bounded)
		close(finished)
	}()
	if err := server.Serve(listener); err != http.ErrServerClosed {
		log.Fatal(err)
	}
	<-finished
}
