module hotpipe/bench/server

go 1.21
