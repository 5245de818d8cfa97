fn main() {
    let _ = fdbray::put(&"text");
    let _ = fdbray::put("text");
}
