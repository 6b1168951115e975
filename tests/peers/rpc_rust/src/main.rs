use rmpv::{decode::read_value, encode::write_value, Value};
use std::{env, io::BufReader, os::unix::net::UnixStream};

fn map(fields: Vec<(&str, Value)>) -> Value {
    Value::Map(fields.into_iter().map(|(name, value)| (name.into(), value)).collect())
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut socket = UnixStream::connect(env::var("VCD_SOCKET")?)?;
    let mut read = BufReader::new(socket.try_clone()?);
    let mut call = |id: u32, method: &str, params: Value| {
        let message = vec![0.into(), id.into(), method.into(), Value::Array(vec![params])];
        write_value(&mut socket, &Value::Array(message))
    };
    call(1, "rpc.hello", map(vec![("client", map(vec![("name", "example-rust".into())]))]))?;
    call(2, "device.list", map(vec![]))?;
    call(3, "events.subscribe", map(vec![("from", 0.into())]))?;
    loop {
        let message = read_value(&mut read)?; // [1, id, error, result] or [2, name, [data]]
        if message[0] == 1.into() && !message[2].is_nil() {
            return Err(message[2]["message"].to_string().into());
        } else if message[0] == 1.into() && message[1] == 2.into() {
            println!("devices: {}", message[3]["devices"][0]["name"].as_str().unwrap_or("?"));
        } else if message[1] == "event".into() {
            println!("event: {} {}", message[2][0]["seq"], message[2][0]["type"].as_str().unwrap_or("?"));
        }
    }
}
