//! A value for a JSON schema: always the same one for the same schema. It knows what vendors allow in a
//! schema for tools and for structured output, and nothing of patterns, conditions or remote schemas.

use serde_json::{Map, Value, json};

/// How deep a value may nest before what is not required is left out.
const MAX_DEPTH: usize = 8;
/// How many values are made at most, whatever a schema multiplies.
const MAX_VALUES: usize = 2000;

/// Makes a value for a schema.
pub(super) fn example(schema: &Value) -> Value {
    Maker { root: schema, values_left: MAX_VALUES }.make(schema, 0)
}

struct Maker<'s> {
    /// What `#/…` refers into.
    root: &'s Value,
    values_left: usize,
}

impl Maker<'_> {
    fn make(&mut self, schema: &Value, depth: usize) -> Value {
        let Some(left) = self.values_left.checked_sub(1) else { return Value::Null };
        self.values_left = left;
        // Beyond twice the depth even required members go on for ever.
        if depth > 2 * MAX_DEPTH {
            return Value::Null;
        }
        if let Some(target) = schema.get("$ref").and_then(Value::as_str).and_then(|to| self.referred(to)) {
            return self.make(&target, depth + 1);
        }
        if let Some(fixed) = ["const", "default"].iter().find_map(|name| schema.get(name)) {
            return fixed.clone();
        }
        if let Some(first) = ["enum", "examples"].iter().find_map(|name| schema.get(name)?.get(0)) {
            return first.clone();
        }
        if let Some(choices) = ["anyOf", "oneOf"].iter().find_map(|name| schema.get(name)?.as_array()) {
            return self.one_of(choices, depth);
        }
        if let Some(parts) = schema.get("allOf").and_then(Value::as_array) {
            return self.all_of(parts, depth);
        }
        match type_of(schema) {
            "object" => self.object(schema, depth),
            "array" => self.array(schema, depth),
            "string" => json!(string(schema)),
            "integer" => integer(schema),
            "number" => number(schema),
            "boolean" => json!(true),
            _ => Value::Null,
        }
    }

    /// Finds what a reference within the schema names.
    fn referred(&self, to: &str) -> Option<Value> {
        self.root.pointer(to.strip_prefix('#')?).cloned()
    }

    /// Makes the first choice that is not null; deep down the other one, which ends a recursion.
    fn one_of(&mut self, choices: &[Value], depth: usize) -> Value {
        let is_null = |choice: &&Value| type_of(choice) == "null";
        let wanted = choices.iter().find(|choice| is_null(choice) == (depth >= MAX_DEPTH));
        wanted.or(choices.first()).map_or(Value::Null, |choice| self.make(choice, depth + 1))
    }

    /// Joins what the parts ask for; what is no object cannot be joined, and the last one stands.
    fn all_of(&mut self, parts: &[Value], depth: usize) -> Value {
        let mut whole = Value::Null;
        for part in parts {
            match (&mut whole, self.make(part, depth + 1)) {
                (Value::Object(members), Value::Object(more)) => members.extend(more),
                (whole, made) => *whole = made,
            }
        }
        whole
    }

    fn object(&mut self, schema: &Value, depth: usize) -> Value {
        let mut members = Map::new();
        let required = schema.get("required").and_then(Value::as_array);
        let is_required =
            |name: &str| required.is_some_and(|names| names.iter().any(|other| other.as_str() == Some(name)));
        for (name, member) in schema.get("properties").and_then(Value::as_object).into_iter().flatten() {
            if depth < MAX_DEPTH || is_required(name) {
                members.insert(name.clone(), self.make(member, depth + 1));
            }
        }
        Value::Object(members)
    }

    fn array(&mut self, schema: &Value, depth: usize) -> Value {
        if let Some(items) = schema.get("prefixItems").and_then(Value::as_array) {
            return items.iter().map(|item| self.make(item, depth + 1)).collect();
        }
        let least = bound(schema, "minItems").unwrap_or(0);
        let most = bound(schema, "maxItems").unwrap_or(usize::MAX);
        let usual = usize::from(depth < MAX_DEPTH);
        let count = least.max(usual).min(most).min(self.values_left);
        let item = schema.get("items").unwrap_or(&Value::Null);
        (0..count).map(|_| self.make(item, depth + 1)).collect()
    }
}

/// Returns the type of a schema: the first that is not null, or what its members tell.
fn type_of(schema: &Value) -> &str {
    match schema.get("type") {
        Some(Value::String(name)) => name,
        Some(Value::Array(names)) => {
            let mut names = names.iter().filter_map(Value::as_str);
            names.find(|name| *name != "null").unwrap_or("null")
        }
        _ if schema.get("properties").is_some() => "object",
        _ if schema.get("items").is_some() => "array",
        // A choice is no null, whatever is in it.
        _ => "string",
    }
}

fn string(schema: &Value) -> String {
    let text = match schema.get("format").and_then(Value::as_str) {
        Some("date-time") => "2026-01-01T00:00:00Z",
        Some("date") => "2026-01-01",
        Some("time") => "00:00:00Z",
        Some("duration") => "P1D",
        Some("email") => "demo@example.com",
        Some("hostname") => "example.com",
        Some("uri") => "https://example.com/",
        Some("ipv4") => "192.0.2.1",
        Some("ipv6") => "2001:db8::1",
        Some("uuid") => "00000000-0000-4000-8000-000000000000",
        _ => "demo",
    };
    let least = bound(schema, "minLength").unwrap_or(0).min(MAX_VALUES);
    let most = bound(schema, "maxLength").unwrap_or(usize::MAX);
    text.chars().cycle().take(text.len().max(least).min(most)).collect()
}

fn bound(schema: &Value, name: &str) -> Option<usize> {
    schema.get(name)?.as_u64()?.try_into().ok()
}

/// Makes a whole number within the bounds: the least one, else the greatest, else 1.
fn integer(schema: &Value) -> Value {
    let bound = |name: &str| schema.get(name).and_then(Value::as_i64);
    let least = bound("minimum").or(bound("exclusiveMinimum").map(|less| less.saturating_add(1)));
    let most = bound("maximum").or(bound("exclusiveMaximum").map(|more| more.saturating_sub(1)));
    let step = bound("multipleOf").filter(|step| *step > 0).unwrap_or(1);
    let near = least.or(most.map(|most| most.min(1))).unwrap_or(1);
    // The next multiple at or above; a bound that leaves none is nobody's schema.
    let rest = near.rem_euclid(step);
    json!(if rest == 0 { near } else { near.saturating_add(step - rest) })
}

fn number(schema: &Value) -> Value {
    let bound = |name: &str| schema.get(name).and_then(Value::as_f64);
    let least = bound("minimum").or(bound("exclusiveMinimum").map(|less| less + 0.5));
    let most = bound("maximum").or(bound("exclusiveMaximum").map(|more| more - 0.5));
    json!(match (least, most) {
        (Some(least), Some(most)) => f64::midpoint(least, most),
        (Some(least), None) => least,
        (None, Some(most)) => most.min(1.5),
        (None, None) => bound("multipleOf").unwrap_or(1.5),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(schema: &Value, expected: &Value) {
        assert_eq!(&example(schema), expected, "{schema}");
    }

    #[test]
    fn every_type_has_its_value() {
        check(&json!({ "type": "string" }), &json!("demo"));
        check(&json!({ "type": "integer" }), &json!(1));
        check(&json!({ "type": "number" }), &json!(1.5));
        check(&json!({ "type": "boolean" }), &json!(true));
        check(&json!({ "type": "null" }), &json!(null));
        check(&json!({ "type": ["null", "integer"] }), &json!(1));
        check(&json!({ "type": "array", "items": { "type": "integer" } }), &json!([1]));
        check(&json!({ "enum": ["c", "f"] }), &json!("c"));
        check(&json!({ "const": { "a": 1 } }), &json!({ "a": 1 }));
        check(&json!({ "anyOf": [{ "type": "null" }, { "type": "boolean" }] }), &json!(true));
        let city = json!({ "type": "object", "required": ["city"], "properties":
            { "city": { "type": "string" }, "days": { "type": "integer" } } });
        check(&city, &json!({ "city": "demo", "days": 1 }));
        check(&json!({}), &json!("demo"));
    }

    #[test]
    fn bounds_are_kept() {
        check(&json!({ "type": "string", "minLength": 6 }), &json!("demode"));
        check(&json!({ "type": "string", "maxLength": 2 }), &json!("de"));
        check(&json!({ "type": "string", "format": "date" }), &json!("2026-01-01"));
        check(&json!({ "type": "integer", "minimum": 5 }), &json!(5));
        check(&json!({ "type": "integer", "exclusiveMinimum": 5 }), &json!(6));
        check(&json!({ "type": "integer", "maximum": -3 }), &json!(-3));
        check(&json!({ "type": "integer", "minimum": 5, "multipleOf": 4 }), &json!(8));
        check(&json!({ "type": "number", "minimum": 0, "maximum": 1 }), &json!(0.5));
        let items = json!({ "type": "boolean" });
        check(&json!({ "type": "array", "items": items, "minItems": 2 }), &json!([true, true]));
        check(&json!({ "type": "array", "items": items, "maxItems": 0 }), &json!([]));
    }

    #[test]
    fn references_and_recursion_end() {
        let tree = json!({
            "$defs": { "node": { "type": "object", "required": ["name"], "properties": {
                "name": { "type": "string" }, "next": { "anyOf": [{ "$ref": "#/$defs/node" }, { "type": "null" }] },
            } } },
            "$ref": "#/$defs/node",
        });
        let made = example(&tree);
        assert_eq!((&made["name"], &made["next"]["name"]), (&json!("demo"), &json!("demo")));
        // A schema that multiplies ends at the bound, and one without an end ends all the same.
        let many = json!({ "type": "array", "minItems": 100_000, "items": { "type": "array", "minItems": 100_000 } });
        assert!(example(&many).to_string().len() < 100_000);
        let endless = json!({ "type": "object", "required": ["a"], "properties": { "a": { "$ref": "#" } } });
        assert!(example(&endless).is_object());
        let joined = json!({ "allOf": [{ "properties": { "a": { "type": "boolean" } } },
            { "properties": { "b": { "type": "integer" } } }] });
        check(&joined, &json!({ "a": true, "b": 1 }));
    }
}
