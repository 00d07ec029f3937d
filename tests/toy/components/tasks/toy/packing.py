from components.pack.packing import Packed, PackSettings

Settings = PackSettings

NUMBER = {"type": "number", "description": "a coordinate"}
INPUTS = {
    "type": "object",
    "properties": {"x": NUMBER, "y": NUMBER},
    "required": ["x", "y"],
    "additionalProperties": False,
}
OUTPUTS = {"type": "object", "properties": {"side": {"type": "boolean"}}}


def pack(given, settings, out):
    return Packed(
        INPUTS, OUTPUTS, {"accuracy_val": given.description["variants"][given.description["variant"]]["accuracy_val"]}
    )
