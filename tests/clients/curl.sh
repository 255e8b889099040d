# Client programs with known policies: bash curl.sh KIND PORT WORKERS. See programs.py.
work() {
    for ((call = 0; ; call++)); do
        case "$1" in
            curl_total) curl -s -o /dev/null --max-time 0.7 "http://127.0.0.1:$2/small?$2-$3-$call" ;;
            curl_retry) curl -s -o /dev/null --max-time 0.4 --retry 3 "http://127.0.0.1:$2/small?$2-$3-$call" ;;
        esac
        sleep "0.0$((RANDOM % 10 + 5))"
    done
}
for ((worker = 0; worker < $3; worker++)); do work "$1" "$2" "$worker" & done
cat >/dev/null
kill $(jobs -p)
