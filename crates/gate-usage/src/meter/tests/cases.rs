//! Answers in the shape of each vendor's, with what must be read from them. The texts are made
//! up; the shapes follow the vendors' API references as of November 2026.

use super::usage;
use crate::{ContentType, Dialect, Usage};

/// One answer, and what a meter says behind its last byte.
#[derive(Clone, Copy, Debug)]
pub(super) struct Case {
    pub(super) name: &'static str,
    pub(super) dialect: Dialect,
    pub(super) content_type: ContentType,
    pub(super) body: &'static str,
    pub(super) usage: Usage,
    pub(super) has_terminal: bool,
    pub(super) event_count: u64,
}

const fn stream(
    name: &'static str,
    dialect: Dialect,
    body: &'static str,
    usage: Usage,
    (has_terminal, event_count): (bool, u64),
) -> Case {
    Case { name, dialect, content_type: ContentType::EventStream, body, usage, has_terminal, event_count }
}

const fn json(name: &'static str, dialect: Dialect, body: &'static str, usage: Usage) -> Case {
    Case { name, dialect, content_type: ContentType::Json, body, usage, has_terminal: true, event_count: 0 }
}

const NONE: Usage = usage([None; 5]);

pub(super) const CASES: &[Case] = &[
    stream(
        "chat: the usage chunk that was asked for, nulls before it",
        Dialect::ChatCompletions,
        "data: {\"id\":\"c1\",\"choices\":[{\"index\":0,\"delta\":{\"content\":\"\"}}],\"usage\":null}\n\n\
         data: {\"id\":\"c1\",\"choices\":[{\"index\":0,\"delta\":{\"content\":\"hé\"}}],\"usage\":null}\n\n\
         data: {\"id\":\"c1\",\"choices\":[],\"usage\":{\"prompt_tokens\":30,\"completion_tokens\":12,\
         \"total_tokens\":42,\"prompt_tokens_details\":{\"cached_tokens\":20,\"cache_write_tokens\":5,\
         \"audio_tokens\":0},\"completion_tokens_details\":{\"reasoning_tokens\":7}}}\n\n\
         data: [DONE]\n\n",
        usage([Some(30), Some(12), Some(20), Some(5), Some(7)]),
        (true, 4),
    ),
    stream(
        "realtime: an answer, with the details in the singular",
        Dialect::Realtime,
        "data: {\"type\":\"response.created\",\"response\":{\"usage\":null}}\n\n\
         data: {\"type\":\"response.done\",\"response\":{\"usage\":{\"total_tokens\":9,\"input_tokens\":6,\
         \"output_tokens\":3,\"input_token_details\":{\"cached_tokens\":4},\
         \"output_token_details\":{\"audio_tokens\":2}}}}\n\n",
        usage([Some(6), Some(3), Some(4), None, None]),
        (true, 2),
    ),
    stream(
        "chat: no usage, because nobody asked",
        Dialect::ChatCompletions,
        "data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"hi\"}}]}\n\ndata: [DONE]\n\n",
        NONE,
        (true, 2),
    ),
    stream(
        "chat: DeepSeek reports on the last chunk with a choice, and names the cache in its own way",
        Dialect::ChatCompletions,
        "data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"x\"},\"finish_reason\":\"stop\"}],\
         \"usage\":{\"prompt_tokens\":9,\"completion_tokens\":2,\"total_tokens\":11,\
         \"prompt_cache_hit_tokens\":8,\"prompt_cache_miss_tokens\":1}}\n\ndata: [DONE]\n\n",
        usage([Some(9), Some(2), Some(8), None, None]),
        (true, 2),
    ),
    stream(
        "chat: a usage chunk without `choices`",
        Dialect::ChatCompletions,
        "data: {\"choices\":[{\"delta\":{}}]}\n\n\
         data: {\"object\":\"chat.completion.chunk\",\"usage\":{\"prompt_tokens\":1,\"completion_tokens\":2}}\n\n",
        usage([Some(1), Some(2), None, None, None]),
        (false, 2),
    ),
    stream(
        "chat: Moonshot reports in the choices, and the last one counts",
        Dialect::ChatCompletions,
        "data: {\"choices\":[{\"index\":0,\"usage\":{\"prompt_tokens\":4,\"completion_tokens\":1}},\
         {\"index\":1,\"delta\":{},\"usage\":{\"prompt_tokens\":4,\"completion_tokens\":6,\
         \"cached_tokens\":3}}]}\n\ndata: [DONE]\n\n",
        usage([Some(4), Some(6), Some(3), None, None]),
        (true, 2),
    ),
    stream(
        "chat: Groq reports in its own member",
        Dialect::ChatCompletions,
        "data: {\"choices\":[{\"delta\":{},\"finish_reason\":\"stop\"}],\"x_groq\":{\"id\":\"r\",\"usage\":\
         {\"queue_time\":0.01,\"prompt_tokens\":18,\"completion_tokens\":3,\"total_time\":0.02}}}\n\n\
         data: [DONE]\n\n",
        usage([Some(18), Some(3), None, None, None]),
        (true, 2),
    ),
    stream(
        "chat: xAI leaves reasoning out of the output",
        Dialect::ChatCompletions,
        "data: {\"choices\":[],\"usage\":{\"prompt_tokens\":32,\"completion_tokens\":9,\"total_tokens\":135,\
         \"completion_tokens_details\":{\"reasoning_tokens\":94}}}\n\ndata: [DONE]\n\n",
        usage([Some(32), Some(103), None, None, Some(94)]),
        (true, 2),
    ),
    stream(
        "chat: zeros at first, a running count on each chunk, a null at the end",
        Dialect::ChatCompletions,
        "data: {\"choices\":[{}],\"usage\":{\"prompt_tokens\":0,\"completion_tokens\":0,\"cached_tokens\":0}}\n\n\
         data: {\"choices\":[{}],\"usage\":{\"prompt_tokens\":5,\"completion_tokens\":1}}\n\n\
         data: {\"choices\":[{}],\"usage\":{\"prompt_tokens\":5,\"completion_tokens\":2}}\n\n\
         data: {\"choices\":[{}],\"usage\":null}\n\n\
         data: {\"choices\":[{}],\"usage\":{}}\n\ndata: [DONE]\n\n",
        usage([Some(5), Some(2), None, None, None]),
        (true, 6),
    ),
    stream(
        "chat: usage in text and in what others own is not the request's",
        Dialect::ChatCompletions,
        "data: {\"choices\":[{\"delta\":{\"content\":\"\\\"usage\\\":{\\\"prompt_tokens\\\":1}\",\
         \"tool_calls\":[{\"usage\":{\"prompt_tokens\":2}}]},\"message\":{\"usage\":{\"prompt_tokens\":3}}}],\
         \"tools\":[{\"usage\":{\"prompt_tokens\":4}}],\"schema\":{\"usage\":{\"prompt_tokens\":5}},\
         \"message\":{\"usage\":{\"prompt_tokens\":6}},\"usages\":{\"prompt_tokens\":7},\
         \"a\":[[{\"usage\":{\"prompt_tokens\":8}}]]}\n\ndata: [DONE]\n\n",
        NONE,
        (true, 2),
    ),
    stream(
        "chat: only whole numbers that fit are counts",
        Dialect::ChatCompletions,
        "data: {\"usage\":{\"prompt_tokens\":7.0,\"completion_tokens\":\"9\",\"total_tokens\":1e3,\
         \"cached_tokens\":-4,\"reasoning_tokens\":18446744073709551616}}\n\n\
         data: {\"usage\":{\"prompt_tokens\": 7 ,\"completion_tokens\":18446744073709551615 }}\n\n",
        usage([Some(7), Some(u64::MAX), None, None, None]),
        (false, 2),
    ),
    stream(
        "chat: an error ends the stream",
        Dialect::ChatCompletions,
        "data: {\"choices\":[{}],\"error\":null}\n\n\
         data: {\"error\":{\"message\":\"overloaded\",\"usage\":{\"prompt_tokens\":1}}}\n\n",
        NONE,
        (true, 2),
    ),
    stream(
        "chat: malformed events are passed over",
        Dialect::ChatCompletions,
        "data: {\"usage\":{\"prompt_tokens\":1}\n\ndata: {\"usage\":{\"prompt_tokens\":2}}}\n\n\
         data: {\"usage\" {\"prompt_tokens\":3}}\n\ndata: {\"usage\":{\"prompt_tokens\":4}} x\n\n\
         data: {usage:{\"prompt_tokens\":5}}\n\ndata: \n\ndata: {\"usage\":{\"prompt_tokens\":6,}]}\n\n\
         data: {\"usage\":{\"prompt_tokens\":8}}\n\n",
        usage([Some(8), None, None, None, None]),
        (false, 8),
    ),
    stream(
        "completions: like chat",
        Dialect::Completions,
        "data: {\"object\":\"text_completion\",\"choices\":[{\"text\":\"a\"}]}\n\n\
         data: {\"choices\":[],\"usage\":{\"prompt_tokens\":2,\"completion_tokens\":1,\"total_tokens\":3}}\n\n\
         data: [DONE]\n\n",
        usage([Some(2), Some(1), None, None, None]),
        (true, 3),
    ),
    stream(
        "responses: usage with the completed response",
        Dialect::Responses,
        "event: response.created\ndata: {\"type\":\"response.created\",\"response\":{\"usage\":null}}\n\n\
         event: response.output_text.delta\ndata: {\"type\":\"response.output_text.delta\",\"delta\":\"{\"}\n\n\
         event: response.completed\ndata: {\"type\":\"response.completed\",\"response\":{\"output\":\
         [{\"usage\":{\"input_tokens\":1}}],\"error\":null,\"usage\":{\"input_tokens\":17,\
         \"input_tokens_details\":{\"cached_tokens\":4},\"output_tokens\":6,\
         \"output_tokens_details\":{\"reasoning_tokens\":2},\"total_tokens\":23},\"metadata\":{}}}\n\n",
        usage([Some(17), Some(6), Some(4), None, Some(2)]),
        (true, 3),
    ),
    stream(
        "responses: without `event` lines, cut short by a limit",
        Dialect::Responses,
        "data: {\"type\":\"response.created\",\"response\":{}}\n\n\
         data: {\"response\":{\"usage\":{\"input_tokens\":3,\"output_tokens\":9}},\
         \"type\":\"response.incomplete\"}\n\n",
        usage([Some(3), Some(9), None, None, None]),
        (true, 2),
    ),
    stream(
        "responses: a failure may have used tokens",
        Dialect::Responses,
        "event: response.failed\ndata: {\"type\":\"response.failed\",\"response\":{\"error\":{\"code\":\
         \"server_error\"},\"usage\":{\"input_tokens\":3,\"output_tokens\":0}}}\n\n",
        usage([Some(3), Some(0), None, None, None]),
        (true, 1),
    ),
    stream(
        "responses: an error event",
        Dialect::Responses,
        "event: error\ndata: {\"type\":\"error\",\"code\":\"server_error\",\"message\":\"no\"}\n\n",
        NONE,
        (true, 1),
    ),
    stream(
        "messages: the input first, the output last, the cache beside the input",
        Dialect::Messages,
        "event: message_start\ndata: {\"type\":\"message_start\",\"message\":{\"id\":\"m\",\"content\":[],\
         \"usage\":{\"input_tokens\":21,\"cache_creation_input_tokens\":300,\"cache_read_input_tokens\":2000,\
         \"cache_creation\":{\"ephemeral_5m_input_tokens\":300},\"output_tokens\":1}}}\n\n\
         event: ping\ndata: {\"type\": \"ping\"}\n\n\
         event: message_delta\ndata: {\"type\":\"message_delta\",\"delta\":{\"stop_reason\":\"end_turn\"},\
         \"usage\":{\"output_tokens\":9}}\n\n\
         event: message_stop\ndata: {\"type\":\"message_stop\"}\n\n",
        usage([Some(2321), Some(9), Some(2000), Some(300), None]),
        (true, 4),
    ),
    stream(
        "messages: a delta that corrects the input of the start",
        Dialect::Messages,
        "event: message_start\ndata: {\"type\":\"message_start\",\"message\":{\"usage\":{\"input_tokens\":0,\
         \"cache_read_input_tokens\":0,\"output_tokens\":0}}}\n\n\
         event: message_delta\ndata: {\"type\":\"message_delta\",\"usage\":{\"input_tokens\":11,\
         \"cache_creation_input_tokens\":null,\"cache_read_input_tokens\":6,\"output_tokens\":4,\
         \"iterations\":[{\"input_tokens\":99,\"output_tokens\":99}]}}\n\n\
         event: message_stop\ndata: {\"type\":\"message_stop\"}\n\n",
        usage([Some(17), Some(4), Some(6), None, None]),
        (true, 3),
    ),
    stream(
        "messages: an error in the middle keeps what was used",
        Dialect::Messages,
        "event: message_start\ndata: {\"type\":\"message_start\",\"message\":{\"usage\":{\"input_tokens\":5,\
         \"output_tokens\":1}}}\n\n\
         event: error\ndata: {\"type\":\"error\",\"error\":{\"type\":\"overloaded_error\"}}\n\n",
        usage([Some(5), Some(1), None, None, None]),
        (true, 2),
    ),
    stream(
        "images: usage with the finished image",
        Dialect::Images,
        "event: image_generation.partial_image\n\
         data: {\"type\":\"image_generation.partial_image\",\"b64_json\":\"AA==\"}\n\n\
         event: image_generation.completed\ndata: {\"type\":\"image_generation.completed\",\"b64_json\":\"AA==\",\
         \"usage\":{\"total_tokens\":100,\"input_tokens\":50,\"output_tokens\":50,\
         \"input_tokens_details\":{\"text_tokens\":10,\"image_tokens\":40}}}\n\n",
        usage([Some(50), Some(50), None, None, None]),
        (true, 2),
    ),
    stream(
        "audio: usage with the finished transcript",
        Dialect::Audio,
        "data: {\"type\":\"transcript.text.delta\",\"delta\":\"he\"}\n\n\
         data: {\"type\":\"transcript.text.done\",\"text\":\"hello\",\"usage\":{\"type\":\"tokens\",\
         \"input_tokens\":14,\"input_token_details\":{\"audio_tokens\":14},\"output_tokens\":3,\
         \"total_tokens\":17}}\n\n",
        usage([Some(14), Some(3), None, None, None]),
        (true, 2),
    ),
    stream(
        "other: whatever looks like usage, and like an end",
        Dialect::Other,
        "event: image_edit.completed\ndata: {\"usage\":{\"input_tokens\":2,\"cache_read_input_tokens\":1}}\n\n",
        usage([Some(3), None, Some(1), None, None]),
        (true, 1),
    ),
    stream(
        "an event of several data lines is one text",
        Dialect::Messages,
        "event: message_delta\ndata: {\"type\":\ndata: \"message_delta\",\ndata\n\
         data:\"usage\":{\"input_tokens\":1\ndata:,\"output_tokens\":2}}\nid: 7\nretry: 3\n\n",
        usage([Some(1), Some(2), None, None, None]),
        (false, 1),
    ),
    json(
        "chat body",
        Dialect::ChatCompletions,
        "{\n  \"id\": \"c1\",\n  \"choices\": [{\"message\": {\"content\": \"{\\\"usage\\\":[\"}}],\n  \
         \"usage\": {\"prompt_tokens\": 19, \"completion_tokens\": 10, \"total_tokens\": 29,\n    \
         \"prompt_tokens_details\": {\"cached_tokens\": 0}}\n}\n",
        usage([Some(19), Some(10), Some(0), None, None]),
    ),
    json(
        "chat body with usage in two places",
        Dialect::ChatCompletions,
        "{\"usage\":{\"prompt_tokens\":1},\"choices\":[{\"usage\":{\"prompt_tokens\":2}}],\
         \"x_groq\":{\"usage\":{\"prompt_tokens\":3}}}",
        usage([Some(1), None, None, None, None]),
    ),
    json(
        "responses body",
        Dialect::Responses,
        "{\"object\":\"response\",\"output\":[],\"usage\":{\"input_tokens\":36,\"input_tokens_details\":\
         {\"cached_tokens\":12},\"output_tokens\":87,\"output_tokens_details\":{\"reasoning_tokens\":80}}}",
        usage([Some(36), Some(87), Some(12), None, Some(80)]),
    ),
    json(
        "messages body",
        Dialect::Messages,
        "{\"type\":\"message\",\"content\":[{\"type\":\"text\",\"text\":\"x\"}],\"usage\":{\"input_tokens\":10,\
         \"cache_creation_input_tokens\":20,\"cache_read_input_tokens\":30,\"output_tokens\":4}}",
        usage([Some(60), Some(4), Some(30), Some(20), None]),
    ),
    json(
        "embeddings body",
        Dialect::Embeddings,
        "{\"data\":[{\"embedding\":[-0.25,1e-3,7]}],\"usage\":{\"prompt_tokens\":8,\"total_tokens\":8}}",
        usage([Some(8), None, None, None, None]),
    ),
    json(
        "transcription that is billed by time",
        Dialect::Audio,
        "{\"text\":\"hi\",\"usage\":{\"type\":\"duration\",\"seconds\":9}}",
        NONE,
    ),
    json("count of tokens is no usage", Dialect::CountTokens, "{\"input_tokens\":2095}", NONE),
    json(
        "count of tokens is not billed, whatever a vendor adds",
        Dialect::CountTokens,
        "{\"input_tokens\":2095,\"usage\":{\"input_tokens\":2095}}",
        NONE,
    ),
    json("list", Dialect::Other, " [{\"usage\":{\"prompt_tokens\":8}}, [\"]\"]] ", NONE),
];
