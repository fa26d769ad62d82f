"""AuthService: sign in by e-mail code."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from cloudgrpc.core.units import rfc3339
from cloudgrpc.pb import cloud_storage_pb2 as pb
from cloudgrpc.pb.cloud_storage_pb2_grpc import AuthServiceServicer

if TYPE_CHECKING:
    import grpc

    from cloudgrpc.actions.accounts import Accounts

    Context = grpc.aio.ServicerContext[Any, Any]


class AuthService(AuthServiceServicer):
    def __init__(self, accounts: Accounts) -> None:
        self._accounts = accounts

    async def SendOTP(self, request: pb.SendOTPRequest, _context: Context) -> pb.SendOTPResponse:
        email = await self._accounts.send_code(request.email)
        return pb.SendOTPResponse(success=True, message=f"A code was sent to {email}; it is valid for 5 minutes.")

    async def VerifyOTP(self, request: pb.VerifyOTPRequest, context: Context) -> pb.VerifyOTPResponse:
        token = await self._accounts.verify_code(request.email, request.otp, context.peer())
        return pb.VerifyOTPResponse(success=True, message="The code is right.", verification_token=token)

    async def Enroll(self, request: pb.EnrollRequest, context: Context) -> pb.EnrollResponse:
        token, caller = await self._accounts.enroll(
            request.email, request.full_name, request.verification_token, context.peer()
        )
        return pb.EnrollResponse(
            success=True, message=f"Welcome, {caller.full_name}.", session_token=token, user_id=caller.account_id
        )

    async def Login(self, request: pb.LoginRequest, context: Context) -> pb.LoginResponse:
        token, caller = await self._accounts.log_in(request.email, request.verification_token, context.peer())
        return pb.LoginResponse(
            success=True, message=f"Welcome back, {caller.full_name}.", session_token=token, user_id=caller.account_id
        )

    async def Logout(self, request: pb.LogoutRequest, _context: Context) -> pb.LogoutResponse:
        await self._accounts.log_out(request.session_token)
        return pb.LogoutResponse(success=True, message="You are signed out.")

    async def WhoAmI(self, request: pb.WhoAmIRequest, _context: Context) -> pb.WhoAmIResponse:
        caller = await self._accounts.caller(request.session_token)
        return pb.WhoAmIResponse(
            success=True,
            user_id=caller.account_id,
            email=caller.email,
            full_name=caller.full_name,
            created_at=rfc3339(caller.created_at),
            session_expires_at=rfc3339(caller.session_expires_at),
        )
