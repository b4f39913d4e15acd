// What OpenVINO's frontend lacks: Det, here of 2 x 2 matrices.
#include <openvino/core/extension.hpp>
#include <openvino/frontend/onnx/extension/conversion.hpp>
#include <openvino/opsets/opset8.hpp>

namespace {

using namespace ov::opset8;

ov::Output<ov::Node> chosen(const ov::Output<ov::Node>& data, int index, int axis) {
    const auto number = [](int value) { return Constant::create(ov::element::i64, {}, {value}); };
    return std::make_shared<Gather>(data, number(index), number(axis));
}

ov::OutputVector determinant(const ov::frontend::NodeContext& node) {
    const auto at = [&](int row, int column) { return chosen(chosen(node.get_input(0), row, -2), column, -1); };
    return {std::make_shared<Subtract>(std::make_shared<Multiply>(at(0, 0), at(1, 1)),
                                       std::make_shared<Multiply>(at(0, 1), at(1, 0)))};
}

}  // namespace

OPENVINO_CREATE_EXTENSIONS(std::vector<ov::Extension::Ptr>(
    {std::make_shared<ov::frontend::onnx::ConversionExtension>("Det", determinant)}))
